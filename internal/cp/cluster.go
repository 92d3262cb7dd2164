package cp

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/google/uuid"

	"weft/internal/cp/store"
	"weft/internal/mesh/kinds"
	"weft/internal/mesh/model"
)

// clusterID knows the id that all control planes of one cluster share.
type clusterID struct {
	store store.Store

	mu sync.Mutex
	id string
}

func (c *clusterID) key() model.Key { return kinds.Config.Key("", kinds.ConfigClusterID) }

// get returns the id, "" as long as nobody has made it.
func (c *clusterID) get() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id == "" {
		if o, err := c.store.Get(context.Background(), c.key()); err == nil {
			c.id = model.Spec[kinds.ConfigSpec](o).Config
		}
	}
	return c.id
}

// ensure makes the id unless there is one.
func (c *clusterID) ensure(ctx context.Context) error {
	o := kinds.Config.Make("", kinds.ConfigClusterID)
	o.Spec = &kinds.ConfigSpec{Config: uuid.NewString()}
	if _, err := c.store.Create(ctx, o); err != nil && !errors.Is(err, store.ErrExists) {
		return fmt.Errorf("make the id of the cluster: %w", err)
	}
	return nil
}
