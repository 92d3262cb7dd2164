// Package spelling compares names that people mistype.
package spelling

// Distance is the number of letters to insert, delete, replace or swap with the
// neighbour to get from one name to the other. Letters are bytes: names are ASCII.
func Distance(a, b string) int {
	// Rows of the table of distances between beginnings of a and of b: the current
	// one and the two above it.
	above, row, next := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next[0] = i + 1
		for j := range len(b) {
			if a[i] == b[j] {
				next[j+1] = row[j]
				continue
			}
			next[j+1] = 1 + min(row[j], row[j+1], next[j])
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], 1+above[j-1])
			}
		}
		above, row, next = row, next, above
	}
	return row[len(b)]
}
