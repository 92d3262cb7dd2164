package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/internal/cp/store"
	"weft/internal/cp/store/storetest"
	"weft/internal/mesh/model"
)

func mustOpen(t *testing.T, o Options) *Store {
	t.Helper()
	if o.Kinds == nil {
		o.Kinds = storetest.Kinds
	}
	o.LockWait = time.Millisecond
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func mustCreate(t *testing.T, s store.Store, objects ...*model.Object) {
	t.Helper()
	for _, o := range objects {
		if _, err := s.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
}

func mustClose(t *testing.T, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// sample fills a new file.
func sample(t *testing.T, path string) {
	t.Helper()
	s := mustOpen(t, Options{Path: path})
	mustCreate(t, s, storetest.NewMesh("m"))
	for i := range 200 {
		mustCreate(t, s, storetest.NewThing("m", fmt.Sprint("t", i), i))
	}
	mustClose(t, s)
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("text"), bytes.Repeat([]byte("not a database\n"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	sample(t, path("newer"))
	alter(t, path("newer"), fmt.Sprintf("PRAGMA user_version = %d", len(migrations)+1))
	sample(t, path("foreign"))
	alter(t, path("foreign"), "PRAGMA application_id = 1")
	sample(t, path("dropped"))
	alter(t, path("dropped"), "DROP TABLE objects")
	for _, c := range []struct{ name, path, want string }{
		{"directory", dir, "directory"},
		{"no directory", path("text") + "/x", "not a directory"},
		{"text file", path("text"), "not a store of kuma-cp"},
		{"another program's database", path("foreign"), "not a store of kuma-cp"},
		{"newer schema", path("newer"), "newer version"},
		{"table missing", path("dropped"), "no such table"},
		{"no path", "", "must be given"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := open(t, c.path)
			if err == nil {
				mustClose(t, s)
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
			if c.path != "" && !strings.Contains(err.Error(), c.path) {
				t.Errorf("error %q does not name the file", err)
			}
		})
	}
}

// alter runs a statement on a closed file.
func alter(t *testing.T, path, sql string) {
	t.Helper()
	f, err := openFile(context.WithoutCancel(t.Context()), path, 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.exec(sql); err != nil {
		t.Fatal(err)
	}
	if err := f.close(); err != nil {
		t.Fatal(err)
	}
}

// TestDamage flips bytes and cuts the file. Either the store refuses to open, and
// says that the file is damaged, or everything is there as it was written.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	sample(t, filepath.Join(dir, "good"))
	good, err := os.ReadFile(filepath.Join(dir, "good"))
	if err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d, %d bytes", seed, len(good))
	r := rand.New(rand.NewPCG(seed, 0))
	const header = 100 // a wrong byte here can mean anything to SQLite
	refused := 0
	for i := range 250 {
		bad := bytes.Clone(good)
		at, bit := header+r.IntN(len(bad)-header), byte(1<<r.IntN(8))
		what := fmt.Sprintf("bit %d of byte %d flipped", bit, at)
		switch {
		case i < header:
			at, what = i, fmt.Sprintf("bit %d of byte %d flipped", bit, i)
			bad[at] ^= bit
		case i%5 == 0:
			bad, what = bad[:at], fmt.Sprintf("cut to %d bytes", at)
		default:
			bad[at] ^= bit
		}
		path := filepath.Join(dir, fmt.Sprint("bad", i))
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := open(t, path)
		if err != nil {
			refused++
			if i >= header && !errors.Is(err, errDamaged) {
				t.Errorf("%s: error does not tell what is wrong: %v", what, err)
			}
			continue
		}
		intact(t, s, what)
		mustClose(t, s)
	}
	if refused < 50 {
		t.Errorf("only %d of 250 damaged files were refused", refused)
	}
}

// intact checks that a store holds what sample wrote.
func intact(t *testing.T, s *Store, what string) {
	t.Helper()
	l, err := s.List(t.Context(), storetest.Thing, "")
	if err != nil || len(l) != 200 {
		t.Errorf("%s: %d things, %v", what, len(l), err)
	}
	for _, o := range l {
		if want := "t" + fmt.Sprint(model.Spec[storetest.ThingSpec](o).Count); o.Meta.Name != want {
			t.Errorf("%s: %s holds the content of %s", what, o.Key(), want)
		}
	}
}

func TestSecondProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kuma.db")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childPath+"="+path, childPrefix+"x")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 5)); err != nil { // "open\n"
		t.Fatal(err)
	}
	go func() { // keep it from blocking on a full pipe
		_, _ = io.Copy(io.Discard, out) // until it is killed
	}()
	s, err := open(t, path)
	if err == nil {
		mustClose(t, s)
		t.Fatal("two processes have the file open")
	}
	if !errors.Is(err, errInUse) {
		t.Errorf("got %v, want %v", err, errInUse)
	}
	// A successor waits for its predecessor to end.
	time.AfterFunc(100*time.Millisecond, func() { _ = cmd.Process.Kill() })
	s, err = Open(t.Context(), Options{Path: path, Kinds: storetest.Kinds, LockWait: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	_ = cmd.Wait() // killed
}

func TestFileMode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "for", "it")
	path := filepath.Join(dir, "kuma.db")
	s := mustOpen(t, Options{Path: path})
	mustCreate(t, s, storetest.NewLoose("a", 1))
	check := func() {
		t.Helper()
		files, err := filepath.Glob(path + "*")
		if err != nil || len(files) < 2 {
			t.Fatalf("files: %v %v", files, err)
		}
		for _, f := range files {
			info, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("mode of %s is %v, want 0600", f, info.Mode())
			}
		}
	}
	check()
	mustClose(t, s)
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s = mustOpen(t, Options{Path: path, Log: slog.New(slog.NewTextHandler(&log, nil))})
	mustCreate(t, s, storetest.NewLoose("b", 1))
	check()
	if !strings.Contains(log.String(), "mode=-rw-r--r--") {
		t.Errorf("the log does not tell of the mode: %s", log.String())
	}
}

func TestFlushedAtCommit(t *testing.T) {
	s := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "kuma.db")})
	mustCreate(t, s, storetest.NewLoose("a", 1)) // the writer is idle now
	for pragma, want := range map[string]int64{"synchronous": 2, "foreign_keys": 0} {
		if n, err := s.file.number("PRAGMA " + pragma); err != nil || n != want {
			t.Errorf("%s is %d, want %d (%v)", pragma, n, want, err)
		}
	}
	var mode string
	if err := s.file.conn.QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
		t.Errorf("journal_mode is %q (%v)", mode, err)
	}
}

// TestFull: a full disk fails writes and harms nothing.
func TestFull(t *testing.T) {
	s := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "kuma.db")})
	mustCreate(t, s, storetest.NewLoose("a", 1))
	pages, err := s.file.number("PRAGMA page_count")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.file.number(fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
		t.Fatal(err)
	}
	big := storetest.NewMesh("big")
	big.Spec = &storetest.MeshSpec{Note: strings.Repeat("x", 1<<20)}
	_, err = s.Create(t.Context(), big)
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "disk is full") {
		t.Fatalf("create on a full disk: %v", err)
	}
	if _, err := s.Get(t.Context(), big.Key()); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("the object is there although its write failed: %v", err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.file.number("PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	mustCreate(t, s, big)
}

// TestBrokenConnection: after an error that leaves open what the disk has, the
// file is read again, and watchers hear of the difference.
func TestBrokenConnection(t *testing.T) {
	s := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "kuma.db")})
	mustCreate(t, s, storetest.NewLoose("a", 1))
	w, err := s.Watch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	// As if another write had come through just before the connection broke.
	r, err := store.Encode(store.Plain{}, storetest.NewLoose("late", 7))
	if err != nil {
		t.Fatal(err)
	}
	late := row{key: storetest.Loose.Key("", "late"), version: 99, created: time.Now(), modified: time.Now(), record: r}
	if _, err := s.file.write([]row{late}); err != nil {
		t.Fatal(err)
	}
	if err := s.file.conn.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), storetest.NewLoose("b", 1)); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("create on a broken connection: %v", err)
	}
	if err := s.Ping(t.Context()); err != nil {
		t.Fatalf("the store did not recover: %v", err)
	}
	b, err := w.Next(t.Context())
	if err != nil || len(b.Events) != 1 || b.Events[0].Key != late.key {
		t.Fatalf("watch after recovery: %v %v", b, err)
	}
	mustCreate(t, s, storetest.NewLoose("b", 1))
}

// TestUnreadable: what this version cannot read stays, and does not get in the way.
func TestUnreadable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kuma.db")
	s := mustOpen(t, Options{Path: path})
	thing := storetest.NewThing("m", "a", 1)
	mustCreate(t, s, storetest.NewMesh("m"), storetest.NewMesh("other"), thing, storetest.NewThing("other", "b", 1),
		storetest.NewPart("p", thing), storetest.NewLoose("fine", 1), storetest.NewLoose("bad", 1))
	mustClose(t, s)
	alter(t, path, "UPDATE objects SET spec = '{\"count\":', sum = NULL WHERE name = 'bad'")

	var log bytes.Buffer
	s = mustOpen(t, Options{Path: path, Log: slog.New(slog.NewTextHandler(&log, nil)), Kinds: func(name string) *model.Kind {
		if name == "Thing" {
			return nil
		}
		return storetest.Kinds(name)
	}})
	for _, want := range []string{"kind=Thing objects=2", `key="Loose bad"`} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("the log does not tell once of %q:\n%s", want, log.String())
		}
	}
	for _, key := range []model.Key{thing.Key(), storetest.Loose.Key("", "bad")} {
		if _, err := s.Get(t.Context(), key); !errors.Is(err, store.ErrUnreadable) {
			t.Errorf("get %s: %v, want ErrUnreadable", key, err)
		}
	}
	if l, err := s.List(t.Context(), storetest.Loose, ""); err != nil || len(l) != 1 {
		t.Errorf("list: %v %v", l, err)
	}
	if _, err := s.Create(t.Context(), storetest.NewLoose("bad", 2)); !errors.Is(err, store.ErrExists) {
		t.Errorf("create: %v, want ErrExists", err)
	}
	if _, err := s.Update(t.Context(), storetest.NewLoose("bad", 2)); !errors.Is(err, store.ErrUnreadable) {
		t.Errorf("update: %v, want ErrUnreadable", err)
	}
	if err := s.Delete(t.Context(), storetest.Loose.Key("", "bad")); err != nil {
		t.Error(err)
	}
	// An unknown object goes with its owner, and takes along what it owns.
	if err := s.Delete(t.Context(), storetest.Mesh.Key("", "m")); err != nil {
		t.Error(err)
	}
	mustClose(t, s)

	s = mustOpen(t, Options{Path: path})
	for kind, want := range map[*model.Kind]int{storetest.Mesh: 1, storetest.Thing: 1, storetest.Part: 0, storetest.Loose: 1} {
		if l, err := s.List(t.Context(), kind, ""); err != nil || len(l) != want {
			t.Errorf("%s: %d objects, want %d (%v)", kind.Name, len(l), want, err)
		}
	}
}

// sealed is a Codec that is easy to see.
type sealed struct{}

func (sealed) Seal(k model.Key, spec []byte) ([]byte, error) {
	return []byte("sealed:" + k.Name + ":" + strings.ToUpper(fmt.Sprintf("%x", spec))), nil
}

func (sealed) Open(k model.Key, kept []byte) ([]byte, error) {
	var spec []byte
	_, err := fmt.Sscanf(string(kept), "sealed:"+k.Name+":%X", &spec)
	return spec, err
}

func TestCodec(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kuma.db")
	s := mustOpen(t, Options{Path: path, Codec: sealed{}})
	o := storetest.NewMesh("m")
	o.Spec = &storetest.MeshSpec{Note: "in the clear"}
	mustCreate(t, s, o)
	mustClose(t, s)
	raw, err := os.ReadFile(path)
	if err != nil || bytes.Contains(raw, []byte("in the clear")) {
		t.Fatalf("the file holds the text that was to be sealed (%v)", err)
	}
	s = mustOpen(t, Options{Path: path, Codec: sealed{}})
	got, err := s.Get(t.Context(), o.Key())
	if err != nil || model.Spec[storetest.MeshSpec](got).Note != "in the clear" {
		t.Fatalf("got %v %v", got, err)
	}
}

// TestClock: a clock that jumps back changes what is shown, and nothing else.
func TestClock(t *testing.T) {
	now := time.Now()
	s := mustOpen(t, Options{Path: filepath.Join(t.TempDir(), "kuma.db"), Now: func() time.Time { return now }})
	mustCreate(t, s, storetest.NewLoose("a", 1))
	now = now.Add(-10 * 365 * 24 * time.Hour)
	o, err := s.Get(t.Context(), storetest.Loose.Key("", "a"))
	if err != nil {
		t.Fatal(err)
	}
	o2, err := s.Update(t.Context(), o)
	if err != nil || o2.Meta.Version <= o.Meta.Version {
		t.Fatalf("update after a jump: %v %v", o2, err)
	}
	if _, err := s.Update(t.Context(), o); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("stale update after a jump: %v", err)
	}
}
