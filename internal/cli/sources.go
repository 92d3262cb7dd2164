package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"weft/internal/mesh/manifest"
)

// source is one file with where it came from.
type source struct {
	name string
	text []byte
}

func (s source) empty() bool { return len(bytes.TrimSpace(s.text)) == 0 }

// read fetches what a --file names.
func (a *App) read(ctx context.Context, file string) ([]source, error) {
	switch {
	case file == "-":
		s, err := bounded("standard input", a.In)
		return []source{s}, err
	case strings.HasPrefix(file, "http://"), strings.HasPrefix(file, "https://"):
		s, err := a.fetch(ctx, file)
		return []source{s}, err
	}
	st, err := os.Stat(file)
	if err != nil {
		return nil, fmt.Errorf("error while reading provided file: %w", err)
	}
	if st.IsDir() {
		return readFolder(file)
	}
	s, err := readFile(file)
	if err != nil {
		return nil, fmt.Errorf("error while reading provided file: %w", err)
	}
	return []source{s}, nil
}

// bounded reads a source up to the largest size of a file.
func bounded(name string, r io.Reader) (source, error) {
	b, err := io.ReadAll(io.LimitReader(r, manifest.MaxSize+1))
	switch {
	case err != nil:
		return source{}, fmt.Errorf("read %s: %w", name, err)
	case len(b) > manifest.MaxSize:
		return source{}, fmt.Errorf("%s has more than %d bytes; split it", name, manifest.MaxSize)
	}
	return source{name, b}, nil
}

func readFile(path string) (source, error) {
	f, err := os.Open(path)
	if err != nil {
		return source{}, err
	}
	defer func() { _ = f.Close() }()
	return bounded(path, f)
}

// readFolder reads every YAML and JSON file below a folder, sorted by path.
func readFolder(dir string) ([]source, error) {
	var out []source
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		switch filepath.Ext(path) {
		case ".yaml", ".yml", ".json":
		default:
			return nil
		}
		s, err := readFile(path)
		out = append(out, s)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("error while reading provided folder: %w", err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("folder %s holds no file that ends in .yaml, .yml or .json", dir)
	}
	return out, nil
}

// fetch reads a file from a web server.
func (a *App) fetch(ctx context.Context, url string) (source, error) {
	if a.apiTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, a.apiTimeout)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return source{}, fmt.Errorf("fetch the file: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return source{}, fmt.Errorf("fetch the file: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return source{}, fmt.Errorf("fetch %s: the server answered %s", req.URL.Redacted(), resp.Status)
	}
	return bounded(req.URL.Redacted(), resp.Body)
}
