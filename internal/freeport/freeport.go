// Package freeport finds ports for programs that tests, the demo and the benchmark
// start.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
)

// The ports lie below the range from which Linux takes ports of outgoing
// connections (ip_local_port_range, 32768 on), so that none of those takes a port
// between its choice and its use. They come in blocks, each of which belongs to one
// process, since several such programs run at once.
const (
	first  = 20000
	blocks = 240
	size   = 50
)

var (
	mu      sync.Mutex
	ports   []int // of claimed blocks, not given yet
	claimed = map[int]*os.File{}
)

// Pick returns n ports, free on every address for TCP and UDP. No other call returns
// them again, in this process or in another that runs at the same time.
func Pick(n int) ([]int, error) {
	mu.Lock()
	defer mu.Unlock()
	out := make([]int, 0, n)
	for len(out) < n {
		if len(ports) == 0 {
			if err := claim(); err != nil {
				return nil, err
			}
		}
		port := ports[len(ports)-1]
		ports = ports[:len(ports)-1]
		if free(port) {
			out = append(out, port)
		}
	}
	return out, nil
}

// claim adds the ports of another block. The lock on the block's file ends with the
// process, however that ends.
func claim() error {
	dir := filepath.Join(os.TempDir(), "weft-test-ports")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("reserve ports: %w", err)
	}
	_ = os.Chmod(dir, 0o777) // for other users, if it is ours
	for _, b := range rand.Perm(blocks) {
		if claimed[b] != nil {
			continue
		}
		f, err := os.OpenFile(filepath.Join(dir, strconv.Itoa(b)), os.O_CREATE|os.O_RDONLY, 0o666)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
			_ = f.Close()
			continue
		}
		claimed[b] = f
		for _, i := range rand.Perm(size) {
			ports = append(ports, first+b*size+i)
		}
		return nil
	}
	return fmt.Errorf("all ports from %d to %d are taken", first, first+blocks*size-1)
}

func free(port int) bool {
	l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", ":"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	return u.Close() == nil
}
