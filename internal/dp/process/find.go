package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Find looks for a program: a path or a name on the PATH, else a file called
// name in the working directory or next to kuma-dp. What was tried is returned
// when there is none.
func Find(configured, name string) (path string, tried []string) {
	candidates := []string{configured}
	if cwd, err := os.Getwd(); err == nil {
		candidates = append(candidates, filepath.Join(cwd, name))
	}
	if self, err := os.Executable(); err == nil {
		candidates = append(candidates, filepath.Join(filepath.Dir(self), name))
	}
	for _, c := range candidates {
		found, err := exec.LookPath(c)
		if err == nil {
			if abs, err := filepath.Abs(found); err == nil {
				return abs, nil
			}
			return found, nil
		}
		if c == configured && !strings.ContainsRune(c, filepath.Separator) {
			c = "the PATH (" + c + ")"
		}
		tried = append(tried, c)
	}
	return "", tried
}

// FirstLine shortens the output of a program for an error.
func FirstLine(out []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line[:min(len(line), 200)]
}
