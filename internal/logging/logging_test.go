package logging

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newTest(t *testing.T, o Options) (*slog.Logger, *bytes.Buffer) {
	t.Helper()
	var buf bytes.Buffer
	log, closer, err := New(o, "kuma-cp", &buf, &buf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = closer.Close() })
	return log, &buf
}

func TestTextLine(t *testing.T) {
	log, buf := newTest(t, Options{Level: "info", Format: Text})
	h := log.Handler()
	r := slog.NewRecord(time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC), slog.LevelInfo, "starting", 0)
	r.AddAttrs(slog.Int("port", 5678), slog.String("name", `a"<b>`), slog.Duration("after", 1500*time.Millisecond),
		slog.Group("who", slog.String("mesh", "default"), slog.Any("err", errors.New("broken"))))
	h = h.WithAttrs([]slog.Attr{slog.String(NameKey, "xds-server"), slog.String("zone", "z")}).WithAttrs([]slog.Attr{slog.String(NameKey, "ads")})
	if err := h.Handle(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	want := "2026-01-02T03:04:05.678Z\tINFO\txds-server.ads\tstarting\t" +
		`{"zone": "z", "port": 5678, "name": "a\"<b>", "after": "1.5s", "who": {"mesh": "default", "err": "broken"}}` + "\n"
	if got := buf.String(); got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestTextGroupsAndEmptyLines(t *testing.T) {
	log, buf := newTest(t, Options{Level: "debug", Format: Text})
	log.Debug("two\nlines\tand a tab")
	log.WithGroup("g").With("a", 1).WithGroup("h").Warn("m", "b", func() {}, "c", 2)
	lines := strings.Split(strings.TrimSpace(buf.String()), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], "\tDEBUG\t\ttwo\\nlines and a tab") {
		t.Fatalf("got %q", lines)
	}
	_, attrs, _ := strings.Cut(lines[1], "\tm\t")
	if !strings.Contains(lines[1], "\tWARN\t") || !strings.HasPrefix(attrs, `{"g": {"a": 1, "h": {"b": "!json: unsupported`) || !strings.HasSuffix(attrs, `"c": 2}}}`) {
		t.Errorf("got %q", lines[1])
	}
}

func TestLoggersFromOneDoNotShareAttributes(t *testing.T) {
	log, buf := newTest(t, Options{Level: "info", Format: Text})
	base := log.With("a", 1).With("b", 2).With("c", 3)
	x, y := base.With("x", 1), base.With("y", 2)
	x.Info("m")
	y.Info("m")
	lines := strings.Split(buf.String(), "\n")
	if !strings.Contains(lines[0], `"c": 3, "x": 1}`) || !strings.Contains(lines[1], `"c": 3, "y": 2}`) {
		t.Errorf("got %q", lines)
	}
}

func TestLevels(t *testing.T) {
	for level, want := range map[string]int{"off": 0, "info": 3, "debug": 4} {
		for _, format := range []string{Text, JSON} {
			log, buf := newTest(t, Options{Level: level, Format: format})
			log.Debug("m")
			log.Info("m")
			log.Warn("m")
			log.Error("m")
			if got := strings.Count(buf.String(), "\n"); got != want {
				t.Errorf("%s, %s: %d lines, want %d", level, format, got, want)
			}
		}
	}
}

func TestBadOptions(t *testing.T) {
	for want, o := range map[string]Options{
		`unknown log level "loud"`:   {Level: "loud", Format: Text},
		`unknown log format "xml"`:   {Level: "info", Format: "xml"},
		"--log-max-age":              {Level: "info", Format: Text, OutputPath: "x", MaxAge: -1},
		"make the folder of the log": {Level: "info", Format: Text, OutputPath: "/proc/none/x"},
		"open the log file":          {Level: "info", Format: Text, OutputPath: t.TempDir()},
	} {
		if _, _, err := New(o, "kuma-cp", &bytes.Buffer{}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "kuma.log")
	var out, errOut bytes.Buffer
	log, closer, err := New(Options{Level: "info", Format: JSON, OutputPath: path, MaxSize: 1, MaxRetainedFiles: 5, MaxAge: 1}, "kuma-cp", &out, &errOut)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("kuma-cp: logs will be stored in %q\n", path); out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	long := strings.Repeat("x", 1000)
	for range 1100 { // more than one megabyte
		log.Info("m", "text", long)
	}
	if err := closer.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "kuma*.log"))
	if err != nil || len(files) != 2 {
		t.Errorf("want the log and one rotated file, got %q, %v", files, err)
	}
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if errOut.Len() > 0 {
		t.Errorf("stderr got %q", errOut.String())
	}
}

type flags map[string]any

func (f flags) StringVar(p *string, name, value, _ string)      { *p = value; f[name] = value }
func (f flags) IntVar(p *int, name string, value int, _ string) { *p = value; f[name] = value }

func TestFlags(t *testing.T) {
	var o Options
	f := flags{}
	o.AddFlags(f, func(name string) string { return map[string]string{"KUMA_LOG_FORMAT": "json"}[name] })
	want := Options{Level: "info", Format: "json", MaxRetainedFiles: 1000, MaxSize: 100, MaxAge: 30}
	if o != want || len(f) != 6 {
		t.Errorf("got %+v, %v", o, f)
	}
}

func TestSecretsAreRedacted(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	scalar, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	secretPart := strings.Split(keyPEM, "\n")[1]
	jwt := "eyJhbGciOiJSUzI1NiJ9.eyJOYW1lIjoiY2FuYXJ5In0.c2lnbmF0dXJl"
	for _, format := range []string{Text, JSON} {
		log, buf := newTest(t, Options{Level: "info", Format: format})
		log.Info("key is "+keyPEM+" and token "+jwt,
			"text", "x "+jwt+" y", "error", fmt.Errorf("parse %q: bad", jwt), "bytes", []byte(keyPEM), "key", key,
			"header", http.Header{"Authorization": {"Bearer " + jwt}}, "password", "canary", "userToken", "canary", "Authorization", "canary",
			"token_value", json.RawMessage(`"canary"`), slog.Group("g", "client-secret", "canary", "x", keyPEM))
		log.With("token", "canary").WithGroup("h").With("db_password", "canary").Info("m", "cut", keyPEM[:len(keyPEM)/2])
		got := buf.String()
		for _, s := range []string{"canary", secretPart, "eyJhbGci", new(big.Int).SetBytes(scalar).String(), fmt.Sprintf("%x", scalar)} {
			if strings.Contains(got, s) {
				t.Errorf("%s: %q is shown in %s", format, s, got)
			}
		}
		if n := strings.Count(got, hidden); n < 14 {
			t.Errorf("%s: only %d places are redacted in %s", format, n, got)
		}
	}
}

func TestNamesOfSecretsAreShown(t *testing.T) {
	log, buf := newTest(t, Options{Level: "info", Format: Text})
	log.Info("m", "token_id", "a", "secret_name", "b", "token_file", "c", "key", "d", "mesh", "e")
	if strings.Contains(buf.String(), hidden) {
		t.Errorf("got %s", buf)
	}
}

func TestNamed(t *testing.T) {
	log, buf := newTest(t, Options{Level: "info", Format: JSON})
	Named(Named(log, "kuma-cp").With("zone", "z"), "api-server").WithGroup("g").With("a", 1).Info("m", "after", time.Second)
	var line map[string]any
	if err := json.Unmarshal(buf.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	group, _ := line["g"].(map[string]any)
	if line["logger"] != "kuma-cp.api-server" || line["zone"] != "z" || line["msg"] != "m" || line["level"] != "INFO" || group["after"] != "1s" || strings.Count(buf.String(), "logger") != 1 {
		t.Errorf("got %v", line)
	}
}

func BenchmarkText(b *testing.B) {
	log := slog.New(newHandler(Text, slog.LevelInfo, discard{})).With(NameKey, "xds", "zone", "z")
	b.ReportAllocs()
	for b.Loop() {
		log.Info("proxy connected", "mesh", "default", "proxy", "web-1", "port", 8080)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
