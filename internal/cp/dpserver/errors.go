package dpserver

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"weft/internal/cp/store"
	"weft/internal/cp/xds"
	"weft/internal/mesh/model"
)

// What a client can do wrong, for the status that it gets.
type (
	// refusal: it may not do that.
	refusal struct{ error }
	// mistake: what it sent makes no sense.
	mistake struct{ error }
	// absent: what it asks for is not there.
	absent struct{ error }
)

func (e *refusal) Unwrap() error { return e.error }
func (e *mistake) Unwrap() error { return e.error }
func (e *absent) Unwrap() error  { return e.error }

// statusOf returns the gRPC status for an error that ends a stream at its begin.
func statusOf(err error) error {
	code := codes.Internal
	var (
		no    *refusal
		bad   *mistake
		gone  *absent
		wrong *model.Invalid
	)
	switch {
	case errors.Is(err, store.ErrUnavailable):
		code = codes.Unavailable
	case errors.As(err, &no):
		code = codes.Unauthenticated
	case errors.As(err, &bad), errors.As(err, &wrong):
		code = codes.InvalidArgument
	case errors.As(err, &gone):
		code = codes.NotFound
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	}
	return status.Error(code, err.Error())
}

// streamStatus returns the gRPC status for what ended a running stream.
func streamStatus(err error) error {
	var limit *xds.LimitError
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, xds.ErrNode):
		return status.Error(codes.InvalidArgument, err.Error())
	case errors.Is(err, xds.ErrSlow):
		return status.Error(codes.DeadlineExceeded, err.Error())
	case errors.As(err, &limit):
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codes.Unknown, err.Error())
}

// reason names what ended a stream, for a metric's label.
func reason(err error) string {
	var limit *xds.LimitError
	switch {
	case err == nil:
		return "client"
	case errors.Is(err, xds.ErrSlow):
		return "slow"
	case errors.Is(err, xds.ErrNode):
		return "node"
	case errors.As(err, &limit):
		return "limit"
	case status.Code(err) == codes.Aborted:
		return "replaced"
	case status.Code(err) == codes.Unauthenticated:
		return "revoked"
	case errors.Is(err, context.Canceled), status.Code(err) == codes.Canceled:
		return "connection"
	}
	return "other"
}

// cause tells in words what ended a stream.
func cause(err error) string {
	if err == nil {
		return "the client closed the stream"
	}
	return err.Error()
}
