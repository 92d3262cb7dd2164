package rest

import (
	"weft/internal/mesh/model"
)

// present answers with one object in the form that the query asks for.
func (s *Server) present(c *call, o *model.Object) (*reply, error) {
	switch f := c.URL.Query().Get("format"); f {
	case "", "universal":
		return ok(o), nil
	default:
		return nil, invalid("format", `only "universal" is served here`)
	}
}
