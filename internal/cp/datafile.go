package cp

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// maxDataFile bounds the files that data sources name, which hold certificates and keys.
const maxDataFile = 1 << 20

// readDataFile reads a file that the data source of an object names. Whoever may
// write objects chooses it, so that it may be a device without an end, or a pipe
// in which nothing ever comes.
func readDataFile(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // else a pipe without a writer waits
	if err != nil {
		return nil, err //nolint:wrapcheck // because it names the file already
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err //nolint:wrapcheck // because it names the file already
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New(name + " is no regular file")
	}
	b, err := io.ReadAll(io.LimitReader(f, maxDataFile+1))
	if err == nil && len(b) > maxDataFile {
		err = fmt.Errorf("%s has more than %d bytes", name, maxDataFile)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}
