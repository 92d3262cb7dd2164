package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// childNamed returns the child of a process that runs a program of that name.
func childNamed(t testing.TB, parent int, name string) int {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range stats {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		text := string(b)
		open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
		fields := strings.Fields(text[end+1:])
		if text[open+1:end] == name && fields[1] == fmt.Sprint(parent) {
			pid, _ := strconv.Atoi(strings.TrimSpace(text[:open]))
			return pid
		}
	}
	t.Fatalf("process %d has no child %q", parent, name)
	return 0
}
