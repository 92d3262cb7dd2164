package cp

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestReadDataFile(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, size int) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link") // as Kubernetes mounts secrets
	if err := os.Symlink(file("cert", 5), link); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path, err string
		size      int
	}{
		"link":       {link, "", 5},
		"empty":      {file("empty", 0), "", 0},
		"largest":    {file("largest", maxDataFile), "", maxDataFile},
		"too large":  {file("large", maxDataFile+1), "more than", 0},
		"no end":     {"/dev/zero", "no regular file", 0},
		"pipe":       {pipe, "no regular file", 0},
		"folder":     {dir, "no regular file", 0},
		"not there":  {filepath.Join(dir, "x"), "no such file", 0},
		"no name":    {"", "no such file", 0},
		"two halves": {"a\x00b", "invalid argument", 0},
	} {
		b, err := readDataFile(c.path)
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) || len(b) != c.size {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
}
