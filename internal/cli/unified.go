package cli

import (
	"fmt"
	"slices"
	"strings"
)

// contextLines is how many equal lines stand around a change.
const contextLines = 3

// maxTable bounds the table by which the longest common part of two texts is
// found; larger ones are shown as replaced.
const maxTable = 4 << 20

// line is a line of two texts side by side: ' ' in both, '-' in the old one, '+'
// in the new one.
type line struct {
	op   byte
	text string
}

// unified returns the difference of two texts in the unified form, "" if there is none.
func unified(name string, old, now []string) string {
	lines := align(old, now)
	var b strings.Builder
	for from := 0; from < len(lines); {
		first := slices.IndexFunc(lines[from:], func(l line) bool { return l.op != ' ' })
		if first < 0 {
			break
		}
		start := max(from, from+first-contextLines)
		end := hunkEnd(lines, from+first)
		if b.Len() == 0 {
			fmt.Fprintf(&b, "--- %s\n+++ %s\n", name, name)
		}
		writeHunk(&b, lines, start, end)
		from = end
	}
	return b.String()
}

// hunkEnd returns where the hunk ends whose first change is at i: after some equal
// lines, unless another change is near.
func hunkEnd(lines []line, i int) int {
	last := i
	for ; i < len(lines) && i-last <= 2*contextLines; i++ {
		if lines[i].op != ' ' {
			last = i
		}
	}
	return min(last+contextLines+1, len(lines))
}

func writeHunk(b *strings.Builder, lines []line, start, end int) {
	at, count := [2]int{1, 1}, [2]int{}
	for i, l := range lines[:end] {
		n := &at
		if i >= start {
			n = &count
		}
		if l.op != '+' {
			n[0]++
		}
		if l.op != '-' {
			n[1]++
		}
	}
	for i := range at {
		if count[i] == 0 {
			at[i]--
		}
	}
	fmt.Fprintf(b, "@@ -%d,%d +%d,%d @@\n", at[0], count[0], at[1], count[1])
	for _, l := range lines[start:end] {
		b.WriteByte(l.op)
		b.WriteString(l.text)
		b.WriteByte('\n')
	}
}

// align puts two texts side by side by their longest common part.
func align(old, now []string) []line {
	head := 0
	for head < len(old) && head < len(now) && old[head] == now[head] {
		head++
	}
	tail := 0
	for tail < len(old)-head && tail < len(now)-head && old[len(old)-1-tail] == now[len(now)-1-tail] {
		tail++
	}
	var out []line
	for _, s := range old[:head] {
		out = append(out, line{' ', s})
	}
	out = append(out, middle(old[head:len(old)-tail], now[head:len(now)-tail])...)
	for _, s := range old[len(old)-tail:] {
		out = append(out, line{' ', s})
	}
	return out
}

func middle(old, now []string) []line {
	var out []line
	i, j := 0, 0
	if len(old)*len(now) <= maxTable {
		// common[i][j] is the length of the longest common part of old[i:] and now[j:].
		common := make([][]int32, len(old)+1)
		for i := range common {
			common[i] = make([]int32, len(now)+1)
		}
		for i := len(old) - 1; i >= 0; i-- {
			for j := len(now) - 1; j >= 0; j-- {
				if old[i] == now[j] {
					common[i][j] = common[i+1][j+1] + 1
				} else {
					common[i][j] = max(common[i+1][j], common[i][j+1])
				}
			}
		}
		for i < len(old) && j < len(now) {
			switch {
			case old[i] == now[j]:
				out = append(out, line{' ', old[i]})
				i, j = i+1, j+1
			case common[i+1][j] >= common[i][j+1]:
				out = append(out, line{'-', old[i]})
				i++
			default:
				out = append(out, line{'+', now[j]})
				j++
			}
		}
	}
	for ; i < len(old); i++ {
		out = append(out, line{'-', old[i]})
	}
	for ; j < len(now); j++ {
		out = append(out, line{'+', now[j]})
	}
	return out
}
