package rest

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"weft/internal/cp/auth"
	"weft/internal/cp/store"
	"weft/internal/mesh/model"
)

// param is one wrong input. Clients of different ages read either form.
type param struct {
	Field  string `json:"field"`
	Reason string `json:"reason"`
}

type cause struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// problem is the body of every error (RFC 7807 in 2.10's spelling).
type problem struct {
	Type              string  `json:"type"`
	Status            int     `json:"status"`
	Title             string  `json:"title"`
	Detail            string  `json:"detail"`
	InvalidParameters []param `json:"invalid_parameters,omitempty"`
	Details           string  `json:"details"`
	Causes            []cause `json:"causes,omitempty"`
}

// failure is an error that knows its status and words.
type failure struct {
	status int
	title  string // "" = the route's
	detail string
	params []param
}

// Error returns the detail.
func (f *failure) Error() string { return f.detail }

func (f *failure) body(title string) problem {
	p := problem{Type: "/std-errors", Status: f.status, Title: f.title, Detail: f.detail, Details: f.detail, InvalidParameters: f.params}
	if p.Title == "" {
		p.Title = title
	}
	for _, x := range f.params {
		p.Causes = append(p.Causes, cause{x.Field, x.Reason})
	}
	return p
}

func badRequest(format string, args ...any) *failure {
	return &failure{status: http.StatusBadRequest, title: "Bad Request", detail: "bad request: " + fmt.Sprintf(format, args...)}
}

func notFound() *failure { return &failure{status: http.StatusNotFound, detail: "Not found"} }

// titled puts another title over an error than that of the route.
type titled struct {
	title string
	err   error
}

// Error returns the text of the error.
func (t *titled) Error() string { return t.err.Error() }

// Unwrap returns the error.
func (t *titled) Unwrap() error { return t.err }

func withTitle(title string, err error) error {
	if err == nil {
		return nil
	}
	return &titled{title, err}
}

// unauthenticated is the answer to a credential that was not accepted. Why it was
// not is no secret to its holder, but does not concern whoever tries.
func unauthenticated(err error) error {
	if errors.Is(err, store.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &failure{status: http.StatusUnauthorized, title: "Invalid authentication data", detail: "Unauthenticated"}
}

// statusClientGone is what the client would see had it waited.
const statusClientGone = 499

// failureOf maps every error to an answer, once. What is not known here is an
// internal error, whose text stays in the log.
func failureOf(err error) *failure {
	var t *titled
	if !errors.As(err, &t) {
		return mapped(err)
	}
	f := *mapped(err)
	if f.title == "" {
		f.title = t.title
	}
	return &f
}

func mapped(err error) *failure {
	var (
		f         *failure
		malformed *model.Malformed
		invalid   *model.Invalid
		known     interface {
			HTTPStatus() (status int, title, detail string)
		}
	)
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &malformed):
		return &failure{status: http.StatusBadRequest, title: "Bad Request", detail: malformed.Error()}
	case errors.As(err, &invalid):
		return &failure{status: http.StatusBadRequest, detail: "Resource is not valid", params: paramsOf(invalid)}
	case errors.As(err, &known):
		status, title, detail := known.HTTPStatus()
		return &failure{status: status, title: title, detail: detail}
	case errors.Is(err, store.ErrNotFound):
		return notFound()
	case errors.Is(err, store.ErrExists), errors.Is(err, store.ErrConflict):
		return &failure{status: http.StatusConflict, title: "Conflict", detail: err.Error()}
	case errors.Is(err, store.ErrOwnerMissing):
		return &failure{status: http.StatusBadRequest, detail: "Mesh is not found", params: []param{{"mesh", "the mesh does not exist any more; create it first"}}}
	case errors.Is(err, store.ErrUnavailable):
		return &failure{status: http.StatusServiceUnavailable, title: "Service unavailable", detail: "the store cannot be reached at the moment; try again"}
	case errors.Is(err, auth.ErrIssuerOff):
		return &failure{status: http.StatusBadRequest, detail: err.Error()}
	case errors.Is(err, store.ErrUnreadable):
		return &failure{status: http.StatusInternalServerError, detail: "the object is stored in a form that this version cannot read; use the version that wrote it, or delete the object"}
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{status: http.StatusServiceUnavailable, title: "Service unavailable", detail: "the answer took too long; try again"}
	case errors.Is(err, context.Canceled):
		return &failure{status: statusClientGone, detail: "the client went away"}
	}
	return &failure{status: http.StatusInternalServerError, detail: "Internal Server Error"}
}

func paramsOf(inv *model.Invalid) []param {
	out := make([]param, len(inv.Violations))
	for i, v := range inv.Violations {
		out[i] = param{v.Field, v.Message}
	}
	return out
}
