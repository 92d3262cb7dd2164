package policy

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"weft/internal/mesh/model"
)

// Number is a number that users write as a whole number or, with decimals, as a
// string: 50 or "0.5". How it was written is kept.
type Number struct {
	text   string
	quoted bool
}

// NumberOf returns a whole number.
func NumberOf(n int64) Number { return Number{text: strconv.FormatInt(n, 10)} }

// JSONSchema says that the number may be a string.
func (Number) JSONSchema() *model.Schema { return &model.Schema{IntOrString: true} }

// Float returns the value; ok is false if the text is no finite number.
func (n Number) Float() (value float64, ok bool) {
	f, err := strconv.ParseFloat(n.text, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || strings.ContainsAny(n.text, "xX_") {
		return 0, false
	}
	return f, true
}

// Value returns the value, 0 if the text is no number.
func (n Number) Value() float64 {
	f, _ := n.Float()
	return f
}

// String returns the number as it was written.
func (n Number) String() string { return n.text }

// MarshalJSON writes the number as it was written.
func (n Number) MarshalJSON() ([]byte, error) {
	if n.quoted {
		return json.Marshal(n.text)
	}
	if n.text == "" {
		return []byte("0"), nil
	}
	return []byte(n.text), nil
}

// UnmarshalJSON accepts a whole number of 32 bits or a string.
func (n *Number) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*n = Number{text: s, quoted: true}
		return nil
	}
	var i int32
	if err := json.Unmarshal(b, &i); err != nil {
		return fmt.Errorf("must be a whole number, or a decimal number in a string like \"0.5\"")
	}
	*n = Number{text: strconv.Itoa(int(i))}
	return nil
}

// CheckPercent adds a violation unless the number is a percentage from 0 to 100.
func CheckPercent(n *Number, v *model.Violations) {
	if n == nil {
		return
	}
	f, ok := n.Float()
	switch {
	case !ok:
		v.Add("%q is no number; write a percentage like 50 or \"0.5\"", n.text)
	case f < 0 || f > 100:
		v.Add("%s is out of range: a percentage is from 0 to 100", n.text)
	}
}
