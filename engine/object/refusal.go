package object

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairnstore/cairn/engine/backend"
)

func refuse(k Kind, message string) error { return &Error{Kind: k, Message: message} }

const incompleteBody = "You did not provide the number of bytes specified by the Content-Length HTTP header"

var (
	errNoSuchBucket  = refuse(NoSuchBucket, "The specified bucket does not exist")
	errBucketExists  = refuse(BucketExists, "The bucket that you tried to create already exists, and you own it.")
	errNoSuchUpload  = refuse(NoSuchUpload, "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.")
	errNoSuchKey     = refuse(NoSuchKey, "The specified key does not exist.")
	errNoSuchVersion = refuse(NoSuchVersion, "The specified version does not exist.")
	errNoSuchPart    = refuse(InvalidPartNumber, "The requested partnumber is not satisfiable")
	errIncomplete    = refuse(IncompleteBody, incompleteBody)
	errExcess        = refuse(IncompleteBody, "The body is longer than the size that was announced")
	errTooLarge      = refuse(EntityTooLarge, "Your proposed upload exceeds the maximum allowed size")
)

// failed makes of a backend's error, or of a body's, what the caller is told. A
// refusal, and the end of a context, pass as they are.
func failed(op string, err error) error {
	if err == nil {
		return nil
	}
	var refusal *Error
	if errors.As(err, &refusal) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	kind := KindInternal
	switch {
	case errors.Is(err, backend.ErrFull):
		kind = StorageFull
	case errors.Is(err, backend.ErrBusy), errors.Is(err, errChanged):
		kind = SlowDown
	case errors.Is(err, backend.ErrUnavailable):
		kind = Unavailable
	case errors.Is(err, backend.ErrMoved): // after all retries: what the index names is not there
		kind = Corrupt
	case errors.Is(err, backend.ErrCorrupt), errors.Is(err, errBadRecord), errors.Is(err, errBadKey):
		kind = Corrupt
	}
	return &Error{Kind: kind, Err: fmt.Errorf("object: %s: %w", op, err)}
}
