package kinds

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestSecretBytesAreNeverPrinted(t *testing.T) {
	s := SecretSpec{Data: SecretBytes("hunter2")}
	hex, b64 := fmt.Sprintf("%x", "hunter2"), "aHVudGVyMg"
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&out, verb+" ", s)
		fmt.Fprintf(&out, verb+" ", s.Data)
		fmt.Fprintf(&out, verb+" ", &s)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("write", "spec", s, "pointer", &s, "data", s.Data)
	}
	for _, bad := range []string{"hunter2", hex, strings.ToUpper(hex), b64, "104 117"} {
		if strings.Contains(out.String(), bad) {
			t.Errorf("found %q in %s", bad, out.String())
		}
	}
}

func TestSecretBytesJSON(t *testing.T) {
	cases := []struct{ in, want, out string }{
		{`{"data":"aGk+Pz8="}`, "hi>??", `{"data":"aGk+Pz8="}`},
		{`{"data":"aGk-Pz8"}`, "hi>??", `{"data":"aGk+Pz8="}`},
		{`{"data":"aGk+\nPz8="}`, "hi>??", `{"data":"aGk+Pz8="}`},
		{`{"data":""}`, "", `{"data":""}`},
		{`{"data":null}`, "", `{}`},
		{`{}`, "", `{}`},
	}
	for _, c := range cases {
		var s SecretSpec
		if err := json.Unmarshal([]byte(c.in), &s); err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if !bytes.Equal(s.Data, []byte(c.want)) {
			t.Errorf("%s: got %q", c.in, []byte(s.Data))
		}
		if out, err := json.Marshal(s); err != nil || string(out) != c.out {
			t.Errorf("%s: written as %s, %v", c.in, out, err)
		}
	}
	for _, bad := range []string{`{"data":"topsecret!"}`, `{"data":17}`, `{"data":{}}`} {
		var s SecretSpec
		err := json.Unmarshal([]byte(bad), &s)
		if err == nil {
			t.Errorf("%s: accepted", bad)
		}
		if err != nil && strings.Contains(err.Error(), "topsecret") {
			t.Errorf("error quotes the value: %v", err)
		}
	}
}
