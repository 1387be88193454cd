package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/cairnstore/cairn/engine/admin"
	"github.com/cairnstore/cairn/engine/object"
)

// reserving refuses buckets whose names the paths of health and metrics begin
// with. It stands before object, which knows S3's rules and not this server's.
type reserving struct{ object.API }

func (r reserving) CreateBucket(ctx context.Context, name, region, owner string) error {
	if slices.Contains(admin.Reserved, name) {
		return &object.Error{Kind: object.InvalidBucketName,
			Message: fmt.Sprintf("The bucket name %q is reserved: the server's own paths begin with it.", name)}
	}
	return r.API.CreateBucket(ctx, name, region, owner)
}
