package policy

import (
	"regexp"
	"strings"

	"weft/internal/mesh/model"
)

// formatCommand is what a percent sign begins in texts that proxies fill in.
var formatCommand = regexp.MustCompile(`^%(?:([A-Z0-9_]+)(?:\((?s:.*?)\))?(?::[0-9]+)?)?%`)

// ownCommands are those that the control plane fills in, not the proxy.
const ownCommands = "KUMA_"

// CheckFormat adds a violation unless proxies can read a text in which they fill
// in commands such as %REQ(x-id)%: values of headers, and lines of logs.
func CheckFormat(text string, v *model.Violations) {
	for rest := text; ; {
		i := strings.IndexByte(rest, '%')
		if i < 0 {
			return
		}
		m := formatCommand.FindStringSubmatch(rest[i:])
		switch {
		case m == nil:
			v.Add("%.40q: a percent sign begins a command like %%REQ(x-id)%%; write %%%% for the sign itself", rest[i:])
			return
		case strings.HasPrefix(m[1], ownCommands):
			v.Add("%s is not filled in here, and proxies do not know it", m[0])
			return
		}
		rest = rest[i+len(m[0]):]
	}
}

// Fillable tells whether CheckFormat has nothing against a text.
func Fillable(text string) bool {
	var v model.Violations
	CheckFormat(text, &v)
	return v.Empty()
}

// CheckHeaders adds what is wrong with the values of headers.
func CheckHeaders(list []HeaderValue, v *model.Violations) {
	for i, h := range list {
		CheckFormat(h.Value, v.At(i, "value"))
	}
}

// Check adds what is wrong with the values of the headers; a may be nil.
func (a *HeaderAdditions) Check(v *model.Violations) {
	if a != nil {
		CheckHeaders(a.Set, v.At("set"))
		CheckHeaders(a.Add, v.At("add"))
	}
}
