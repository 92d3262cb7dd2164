package envoy

import (
	"fmt"
	"strings"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacconfig "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	streamlog "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"weft/internal/mesh/ir"
)

// deniedLogName tells the log of denials from those that policies ask for.
const deniedLogName = "denied"

// The filter of requests writes its verdict into their metadata. The filter of
// connections does not; so it gets shadow rules that mark whom it denies.
const (
	verdictKey    = "enforced_engine_result"
	verdictDenied = "denied"
	shadowKey     = "shadow_effective_policy_id"
)

// markDenied returns rules that decide nothing and match all but those who may
// connect; nil where shadow rules are in use already.
func markDenied(a *ir.Access) *rbacconfig.RBAC {
	if len(a.ShadowDeny) > 0 {
		return nil
	}
	who := &rbacconfig.Principal{Identifier: &rbacconfig.Principal_Any{Any: true}}
	if len(a.Allow) > 0 {
		allowed := make([]*rbacconfig.Principal, 0, len(a.Allow))
		for _, p := range a.Allow {
			allowed = append(allowed, principal(p))
		}
		who = not(&rbacconfig.Principal{Identifier: &rbacconfig.Principal_OrIds{OrIds: &rbacconfig.Principal_Set{Ids: allowed}}})
	}
	return &rbacconfig.RBAC{Action: rbacconfig.RBAC_LOG, Policies: map[string]*rbacconfig.Policy{deniedLogName: {
		Permissions: []*rbacconfig.Permission{{Rule: &rbacconfig.Permission_Any{Any: true}}}, Principals: []*rbacconfig.Principal{who},
	}}}
}

// deniedLog writes a line to the proxy's standard error for each request, or
// connection, that a filter denied: who it was, and which permissions were asked.
// It has neither path nor query, which may hold secrets.
// where says at which port, of what.
func deniedLog(filter string, where map[string]string) (*accesslog.AccessLog, error) {
	line := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for _, fields := range []map[string]string{where, {
		"time": "%START_TIME%", "level": "WARN", "msg": "denied by permissions",
		"client": "%DOWNSTREAM_PEER_URI_SAN%", "client_address": "%DOWNSTREAM_REMOTE_ADDRESS%",
	}} {
		for k, v := range fields {
			line.Fields[k] = structpb.NewStringValue(v)
		}
	}
	if filter == filterHTTPRBAC {
		line.Fields["method"] = structpb.NewStringValue("%REQ(:METHOD)%")
		line.Fields["authority"] = structpb.NewStringValue("%REQ(:AUTHORITY)%")
		line.Fields["request_id"] = structpb.NewStringValue("%REQ(X-REQUEST-ID)%")
	}
	packed, err := pack(&streamlog.StderrAccessLog{AccessLogFormat: &streamlog.StderrAccessLog_LogFormat{
		LogFormat: &core.SubstitutionFormatString{
			Format: &core.SubstitutionFormatString_JsonFormat{JsonFormat: line}, OmitEmptyValues: true,
		},
	}})
	if err != nil {
		return nil, err
	}
	key, value := shadowKey, deniedLogName
	if filter == filterHTTPRBAC {
		key, value = verdictKey, verdictDenied
	}
	denied := &matcher.MetadataMatcher{
		Filter: filter, Path: []*matcher.MetadataMatcher_PathSegment{{Segment: &matcher.MetadataMatcher_PathSegment_Key{Key: key}}},
		Value: &matcher.ValueMatcher{MatchPattern: &matcher.ValueMatcher_StringMatch{StringMatch: exact(value)}},
	}
	return &accesslog.AccessLog{
		Name: deniedLogName,
		Filter: &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_MetadataFilter{
			MetadataFilter: &accesslog.MetadataFilter{Matcher: denied, MatchIfKeyNotFound: wrapperspb.Bool(false)},
		}},
		ConfigType: &accesslog.AccessLog_TypedConfig{TypedConfig: packed},
	}, nil
}

// deniedAt names an inbound and the permissions that were asked for it.
func deniedAt(in *ir.Inbound) map[string]string {
	return map[string]string{"service": in.Service, "inbound": hostPort(in.Address, in.Port), "permissions": permissions(in.Access)}
}

// permissions names the rules that were asked, in a form that Envoy takes for text.
func permissions(a *ir.Access) string {
	if len(a.Origins) == 0 {
		return "none applies, so nobody is allowed"
	}
	var out []string
	for _, o := range a.Origins {
		out = append(out, fmt.Sprintf("%s %s/%s rule %d", o.Kind, o.Mesh, o.Name, o.Rule))
	}
	return strings.ReplaceAll(strings.Join(out, ", "), "%", "%%")
}
