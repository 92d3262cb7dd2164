package rest

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"weft/internal/config"
	"weft/internal/cp/auth"
	"weft/internal/mesh/model"
)

// tokenRequest is the body of a request for a token.
type tokenRequest interface {
	Issue(ctx context.Context, t *auth.Tokens) (string, error)
}

// tokenRoutes registers the endpoints that issue tokens; they are also there
// where everything else is read-only. A federated zone has no key for zone
// tokens, which is what it answers. User tokens are always
// issued at /tokens/user, wherever the rest of the API lies.
func (s *Server) tokenRoutes() {
	const title = "Could not issue a token"
	add := func(to *router, pattern, action string, body func() tokenRequest) {
		to.add(route{method: http.MethodPost, pattern: pattern, title: title, handle: s.issue(action, body)})
	}
	add(&s.router, "/tokens/dataplane", auth.GenerateDPToken, func() tokenRequest { return new(auth.DataplaneTokenRequest) })
	add(&s.router, "/tokens/zone", auth.GenerateZoneToken, func() tokenRequest { return new(auth.ZoneTokenRequest) })
	if s.Config.APIServer.Authn.Type == config.AuthnTokens {
		add(&s.offBase, "/tokens/user", auth.GenerateUserToken, func() tokenRequest { return new(auth.UserTokenRequest) })
	}
}

func (s *Server) issue(action string, body func() tokenRequest) handler {
	return func(c *call) (*reply, error) {
		b, err := readBody(c)
		if err != nil {
			return nil, err
		}
		req := body()
		if err := json.Unmarshal(b, req); err != nil {
			return nil, badRequest("the body is no request for a token: %s", bodyProblem(err))
		}
		if err := s.Access.Action(c.user, action); err != nil {
			return nil, err
		}
		text, err := req.Issue(c.Context(), s.Tokens)
		var invalid *model.Invalid
		if errors.As(err, &invalid) {
			return nil, withTitle("Invalid request", err)
		}
		if err != nil {
			return nil, err
		}
		return &reply{contentType: "text/plain", text: []byte(text)}, nil
	}
}

// bodyProblem says in the words of the API what encoding/json found.
func bodyProblem(err error) string {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err.Error()
	}
	if wrong.Field == "" {
		return "it must be a JSON object, not a JSON " + wrong.Value
	}
	return wrong.Field + " must not be a JSON " + wrong.Value
}
