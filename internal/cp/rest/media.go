package rest

import (
	"net/http"
	"strings"
)

const jsonType = "application/json"

// negotiate checks media types; it answers itself when they do not fit. They are
// compared as 2.10 does: exactly, and without looking at parameters such as q.
func negotiate(w http.ResponseWriter, r *http.Request) bool {
	ct, given := r.Header["Content-Type"]
	wantsOne := r.Method == http.MethodPut || r.Method == http.MethodPost
	if wantsOne && !given || given && r.Method != http.MethodGet && mediaType(ct[0]) != jsonType {
		plain(w, r, http.StatusUnsupportedMediaType, "415: Unsupported Media Type")
		return false
	}
	if a := r.Header.Get("Accept"); a != "" && !acceptsJSON(a) {
		plain(w, r, http.StatusNotAcceptable, "406: Not Acceptable\n\nAvailable representations: "+jsonType)
		return false
	}
	return true
}

func mediaType(v string) string {
	t, _, _ := strings.Cut(v, ";")
	return strings.TrimSpace(t)
}

func acceptsJSON(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		if t := mediaType(part); t == "*/*" || t == jsonType {
			return true
		}
	}
	return false
}
