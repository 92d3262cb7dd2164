package rest_test

import (
	"net/http"
	"strings"
	"testing"
)

// Objects that hold private keys themselves, as text and in base64 ("c2VjcmV0" and
// "cHVibGlj" are "secret" and "public").
var keyed = map[string]string{
	"/meshes/keyed": `{"type":"Mesh","name":"keyed","mtls":{"enabledBackend":"a","skipValidation":true,"backends":[
		{"name":"a","type":"provided","conf":{"cert":{"inlineString":"public"},"key":{"inlineString":"secret"}}},
		{"name":"b","type":"provided","dpCert":{"rotation":{"expiration":"1h"}},"conf":{"cert":{"inline":"cHVibGlj"},"key":{"inline":"c2VjcmV0"}}}]}}`,
	"/meshes/default/external-services/keyed": `{"type":"ExternalService","mesh":"default","name":"keyed","tags":{"kuma.io/service":"x"},
		"networking":{"address":"x.test:443","tls":{"enabled":true,"caCert":{"inline":"cHVibGlj"},"clientCert":{"inlineString":"public"},"clientKey":{"inline":"c2VjcmV0"}}}}`,
	"/meshes/default/meshexternalservices/keyed": `{"type":"MeshExternalService","mesh":"default","name":"keyed","spec":{
		"match":{"type":"HostnameGenerator","port":443,"protocol":"tcp"},"endpoints":[{"address":"x.test","port":443}],
		"tls":{"enabled":true,"verification":{"caCert":{"inline":"cHVibGlj"},"clientCert":{"inline":"cHVibGlj"},"clientKey":{"inline":"c2VjcmV0"}}}}}`,
	"/meshes/default/meshgateways/keyed": `{"type":"MeshGateway","mesh":"default","name":"keyed","selectors":[{"match":{"kuma.io/service":"g"}}],
		"conf":{"listeners":[{"port":443,"protocol":"HTTPS","tls":{"mode":"TERMINATE","certificates":[{"inlineString":"secret"}]}}]}}`,
}

// A private key in an object is shown to those only who may read Secrets, wherever
// the object is shown; others see the rest of it, and cannot write back what they
// saw.
func TestKeysInObjects(t *testing.T) {
	w := newWorld(t, map[string]string{"KUMA_ACCESS_STATIC_WRITE_RESOURCES_GROUPS": "team,mesh-system:admin"})
	url := w.serve(t, externalIP).URL
	users := w.callers(t)
	hasKey := func(s string) bool { return strings.Contains(s, `"secret"`) || strings.Contains(s, "c2VjcmV0") }
	for path, body := range keyed {
		if got := send(t, http.MethodPut, url+path, body, users["mesh-system:admin"]...); got.status != http.StatusCreated {
			t.Fatalf("%s: %d %s", path, got.status, got.text)
		}
		list := strings.TrimSuffix(path, "/keyed")
		everywhere := strings.Replace(list, "/meshes/default", "", 1)
		for _, page := range []string{path, path + "?format=k8s", list, everywhere} {
			if got := send(t, http.MethodGet, url+page, "", users["mesh-system:admin"]...); !hasKey(got.text) {
				t.Errorf("%s: the administrator sees no key: %d %s", page, got.status, got.text)
			}
			for _, who := range []string{"anonymous", "kim", "jo"} {
				got := send(t, http.MethodGet, url+page, "", users[who]...)
				if got.status != http.StatusOK || hasKey(got.text) || !strings.Contains(got.text, `"name": "keyed"`) {
					t.Errorf("%s as %s sees: %d %s", page, who, got.status, got.text)
				}
				if !strings.Contains(path, "gateways") && !strings.Contains(got.text, "public") && !strings.Contains(got.text, "cHVibGlj") {
					t.Errorf("%s as %s: certificates are no secret: %s", page, who, got.text)
				}
			}
		}
		seen := send(t, http.MethodGet, url+path, "", users["jo"]...)
		if got := send(t, http.MethodPut, url+path, seen.text, users["jo"]...); got.status != http.StatusBadRequest || !strings.Contains(got.text, "placeholder") {
			t.Errorf("%s: what was seen is written back: %d %s", path, got.status, got.text)
		}
		if got := send(t, http.MethodGet, url+path, "", users["mesh-system:admin"]...); !hasKey(got.text) {
			t.Errorf("%s: the key is gone: %s", path, got.text)
		}
	}
}
