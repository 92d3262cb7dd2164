package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/internal/cp/store/storetest"
	"weft/internal/mesh/model"
)

// Environment variables that turn the test binary into a writer to be killed.
const (
	childPath   = "WEFT_TEST_SQLITE_PATH"
	childPrefix = "WEFT_TEST_SQLITE_PREFIX"
)

const childWriters = 8

func TestMain(m *testing.M) {
	if path := os.Getenv(childPath); path != "" {
		if err := childMain(path, os.Getenv(childPrefix)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// childMain writes until it is killed, and tells of every acknowledged step.
func childMain(path, prefix string) error {
	ctx := context.Background()
	s, err := Open(ctx, Options{Path: path, Kinds: storetest.Kinds})
	if err != nil {
		return err
	}
	fmt.Println("open")
	var wg sync.WaitGroup
	errs := make(chan error, childWriters)
	for w := range childWriters {
		wg.Go(func() {
			for n := 1; ; n++ {
				if err := step(ctx, s, fmt.Sprint(prefix, "-", w), n); err != nil {
					errs <- err
					return
				}
				// One write call per line, so that lines are whole.
				if _, err := fmt.Fprintln(os.Stdout, w, n); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	return <-errs
}

// step is the n-th write of a writer: create a mesh, put three things into it,
// change them, delete the mesh, and so on.
func step(ctx context.Context, s *Store, writer string, n int) error {
	cycle, i := (n-1)/8, (n-1)%8
	mesh := fmt.Sprint(writer, "-", cycle)
	switch i {
	case 0:
		_, err := s.Create(ctx, storetest.NewMesh(mesh))
		return err
	case 1, 2, 3:
		_, err := s.Create(ctx, storetest.NewThing(mesh, fmt.Sprint(i), n))
		return err
	case 4, 5, 6:
		o, err := s.Get(ctx, storetest.Thing.Key(mesh, fmt.Sprint(i-3)))
		if err != nil {
			return err
		}
		c := o.Clone()
		c.Spec = &storetest.ThingSpec{Count: n}
		_, err = s.Update(ctx, c)
		return err
	}
	return s.Delete(ctx, storetest.Mesh.Key("", mesh))
}

// after returns what a writer has in the store after n steps: a text for each object.
func after(writer string, n int) map[string]bool {
	out := map[string]bool{}
	if n == 0 {
		return out
	}
	cycle, i := (n-1)/8, (n-1)%8
	if i == 7 {
		return out
	}
	mesh := fmt.Sprint(writer, "-", cycle)
	out["Mesh "+mesh] = true
	for t := 1; t <= min(i, 3); t++ {
		count := cycle*8 + t + 1
		if i >= t+3 {
			count += 3
		}
		out[fmt.Sprint("Thing ", mesh, "/", t, "=", count)] = true
	}
	return out
}

func stored(t *testing.T, s *Store, writer string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, k := range []*model.Kind{storetest.Mesh, storetest.Thing} {
		l, err := s.List(t.Context(), k, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range l {
			mesh := o.Meta.Mesh
			if mesh == "" {
				mesh = o.Meta.Name
			}
			if !strings.HasPrefix(mesh, writer+"-") {
				continue
			}
			text := o.Key().String()
			if k == storetest.Thing {
				text += fmt.Sprint("=", model.Spec[storetest.ThingSpec](o).Count)
			}
			out[text] = true
		}
	}
	return out
}

// TestKill kills a process that writes, again and again on one file, and checks
// that every acknowledged write is there, and none half.
func TestKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kuma.db")
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	final := map[string]map[string]bool{} // writer → what it left
	steps := 0
	for round := range rounds {
		prefix := fmt.Sprint("r", round)
		acked := runAndKill(t, path, prefix, time.Duration(r.IntN(60))*time.Millisecond)
		s, err := open(t, path)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for w := range childWriters {
			writer := fmt.Sprint(prefix, "-", w)
			n := acked[w]
			steps += n
			have := stored(t, s, writer)
			// The step under way when the process died may be there or not.
			if !same(have, after(writer, n)) && !same(have, after(writer, n+1)) {
				t.Errorf("round %d, writer %d: after %d acknowledged steps the store holds %v, want %v or %v",
					round, w, n, have, after(writer, n), after(writer, n+1))
			}
			final[writer] = have
		}
		for writer, want := range final {
			if have := stored(t, s, writer); !same(have, want) {
				t.Errorf("round %d: what %s left became %v, was %v", round, writer, have, want)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d rounds, %d acknowledged steps", rounds, steps)
	if steps == 0 {
		t.Error("nothing was written, so nothing was tested")
	}
}

func same(a, b map[string]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}

// runAndKill starts a writer, kills it some time after its first step, and
// returns how many steps of each writer it acknowledged.
func runAndKill(t *testing.T, path, prefix string, after time.Duration) map[int]int {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childPath+"="+path, childPrefix+"="+prefix)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked := map[int]int{}
	var killer *time.Timer
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if lines.Text() == "open" {
			killer = time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
			continue
		}
		var w, n int
		if _, err := fmt.Sscan(lines.Text(), &w, &n); err == nil {
			acked[w] = max(acked[w], n)
		}
	}
	if killer == nil {
		t.Fatal("the writer did not start")
	}
	killer.Stop()
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the writer ended by itself: %v", err)
	}
	return acked
}
