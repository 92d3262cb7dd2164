package freeport

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Two processes at once never get the same port.
func TestPickAcrossProcesses(t *testing.T) {
	const n = 300
	if os.Getenv("WEFT_PICK_PORTS") != "" {
		ports, err := Pick(n)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("ports:", ports)
		_, _ = os.Stdin.Read(make([]byte, 1)) // keeps them until the other is done
		return
	}
	seen := map[string]bool{}
	for range 3 {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestPickAcrossProcesses$")
		cmd.Env = append(os.Environ(), "WEFT_PICK_PORTS=1")
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
		var line strings.Builder
		for b := make([]byte, 1); b[0] != '\n'; {
			if _, err := out.Read(b); err != nil {
				t.Fatalf("%v after %q", err, line.String())
			}
			line.Write(b)
		}
		list := strings.Fields(strings.Trim(strings.TrimPrefix(line.String(), "ports: "), "[]\n"))
		if len(list) != n {
			t.Fatalf("got %d ports: %q", len(list), line.String())
		}
		for _, p := range list {
			if seen[p] {
				t.Errorf("port %s was given twice", p)
			}
			seen[p] = true
		}
	}
}
