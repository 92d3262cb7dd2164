package rest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of a request. The largest sensible object is far smaller, and no client
// has use for as many parameters.
const (
	maxBody   = 4 << 20
	maxPath   = 4 << 10
	maxParams = 128
	// handleTimeout bounds the work for one request; it is shorter than
	// writeTimeout, so that there is time to tell that it is over.
	handleTimeout = 45 * time.Second
)

// outOfBounds tells what about path and query of a request is beyond the limits,
// "" if nothing is. Stores and logs must not get what is no text.
func outOfBounds(r *http.Request) string {
	switch {
	case len(r.URL.Path) > maxPath:
		return fmt.Sprintf("the path is longer than %d bytes", maxPath)
	case !utf8.ValidString(r.URL.Path) || strings.ContainsFunc(r.URL.Path, unicode.IsControl):
		return "the path has bytes that are no text"
	case strings.Count(r.URL.RawQuery, "&") >= maxParams:
		return fmt.Sprintf("the query has more than %d parameters", maxParams)
	}
	// Parameters that cannot be read would be left out, and a filter not noticed.
	if _, err := url.ParseQuery(r.URL.RawQuery); err != nil {
		return fmt.Sprintf("the query cannot be read: %v; write ; as %%3B and %% as %%25", err)
	}
	return ""
}

// readBody returns the body, bounded.
func readBody(c *call) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(nil, c.Body, maxBody))
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, &failure{
			status: http.StatusRequestEntityTooLarge, title: "Bad Request",
			detail: fmt.Sprintf("bad request: the body is larger than %d bytes", maxBody),
		}
	}
	if err != nil {
		return nil, badRequest("the body could not be read: %v", err)
	}
	return b, nil
}
