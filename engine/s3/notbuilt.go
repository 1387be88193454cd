package s3

import (
	"encoding/xml"
	"net/http"

	"github.com/cairnstore/cairn/engine/object"
)

// Codes of configurations that were never set.
var (
	codeNoPolicy            = &code{"NoSuchBucketPolicy", 404, "The bucket policy does not exist"}
	codeNoLifecycle         = &code{"NoSuchLifecycleConfiguration", 404, "The lifecycle configuration does not exist"}
	codeNoCORS              = &code{"NoSuchCORSConfiguration", 404, "The CORS configuration does not exist"}
	codeNoWebsite           = &code{"NoSuchWebsiteConfiguration", 404, "The specified bucket does not have a website configuration"}
	codeNoEncryption        = &code{"ServerSideEncryptionConfigurationNotFoundError", 404, "The server side encryption configuration was not found"}
	codeNoObjectLock        = &code{"ObjectLockConfigurationNotFoundError", 404, "Object Lock configuration does not exist for this bucket"}
	codeNoReplication       = &code{"ReplicationConfigurationNotFoundError", 404, "The replication configuration was not found"}
	codeNoPublicAccessBlock = &code{"NoSuchPublicAccessBlockConfiguration", 404, "The public access block configuration was not found"}
	codeNoOwnership         = &code{"OwnershipControlsNotFoundError", 404, "The bucket ownership controls were not found"}
	codeNoConfiguration     = &code{"NoSuchConfiguration", 404, "The specified configuration does not exist."}
)

// notImplemented refuses what a sub-resource asks for.
func notImplemented(*call) error { return refuse(codeNotImplemented, "") }

// exists fails unless the bucket is there.
func (c *call) exists() error {
	_, err := c.h.api.Bucket(c.ctx(), c.bucket)
	return err
}

// notSet answers the read of a configuration that nobody can have set.
func notSet(absent *code) func(*call) error {
	return func(c *call) error {
		if err := c.exists(); err != nil {
			return err
		}
		return refuse(absent, "")
	}
}

// neverSet answers who takes away what nobody can have set: it is away. Scripts that set
// a bucket up make it private so, whatever it was.
func neverSet(c *call) error {
	if err := c.exists(); err != nil {
		return err
	}
	c.empty(http.StatusNoContent)
	return nil
}

type notificationConfiguration struct {
	XMLName xml.Name   `xml:"NotificationConfiguration"`
	Of      []anything `xml:",any"`
}

type anything struct {
	XMLName xml.Name
}

// putNotification accepts a document that asks for none, which is how they are taken away.
func putNotification(c *call) error {
	var n notificationConfiguration
	if err := c.readXML(maxDocument, &n); err != nil {
		return err
	}
	if len(n.Of) > 0 {
		return refuse(codeNotImplemented, "Notifications are not implemented; a configuration without any is accepted.")
	}
	if err := c.exists(); err != nil {
		return err
	}
	c.empty(http.StatusOK)
	return nil
}

// unset answers the read of a configuration whose absence S3 shows as an empty document.
func unset(root string) func(*call) error {
	return func(c *call) error {
		if err := c.exists(); err != nil {
			return err
		}
		return c.respond(func(x *xmlWriter) {
			x.root(root)
			x.close(root)
		})
	}
}

// noneOf answers for configurations of which a bucket may have many: none with
// the ID asked for, or an empty list.
func noneOf(list string) func(*call) error {
	return func(c *call) error {
		if err := c.exists(); err != nil {
			return err
		}
		if c.q.has("id") {
			return refuse(codeNoConfiguration, "")
		}
		return c.respond(func(x *xmlWriter) {
			x.root(list)
			x.bool("IsTruncated", false)
			x.close(list)
		})
	}
}

func getRequestPayment(c *call) error {
	if err := c.exists(); err != nil {
		return err
	}
	return c.respond(func(x *xmlWriter) {
		x.root("RequestPaymentConfiguration")
		x.text("Payer", "BucketOwner")
		x.close("RequestPaymentConfiguration")
	})
}

// noObjectLock answers for retention and legal hold, which need a bucket with Object Lock.
func noObjectLock(c *call) error {
	if err := c.found(); err != nil {
		return err
	}
	return refuse(codeInvalidRequest, "Bucket is missing Object Lock Configuration")
}

// found fails unless the object is there.
func (c *call) found() error {
	id, err := c.version()
	if err != nil {
		return err
	}
	_, err = c.h.api.Head(c.ctx(), &object.GetInput{Bucket: c.bucket, Key: c.key, VersionID: id})
	return err
}

func getBucketACL(c *call) error {
	if err := c.exists(); err != nil {
		return err
	}
	return c.respondACL()
}

func getObjectACL(c *call) error {
	if err := c.found(); err != nil {
		return err
	}
	return c.respondACL()
}

// respondACL is the one ACL there is: all to the owner.
func (c *call) respondACL() error {
	return c.respond(func(x *xmlWriter) {
		x.root("AccessControlPolicy")
		x.owner("Owner", &c.h.owner)
		x.open("AccessControlList")
		x.open("Grant")
		x.raw(`<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser">`)
		x.text("ID", c.h.owner.ID)
		x.text("DisplayName", c.h.owner.DisplayName)
		x.close("Grantee")
		x.text("Permission", "FULL_CONTROL")
		x.close("Grant")
		x.close("AccessControlList")
		x.close("AccessControlPolicy")
	})
}

func putBucketACL(c *call) error { return c.putACL(c.exists) }

func putObjectACL(c *call) error { return c.putACL(c.found) }

type accessControlPolicy struct {
	XMLName xml.Name `xml:"AccessControlPolicy"`
	Grants  []grant  `xml:"AccessControlList>Grant"`
}

// A grant has one of each, which an element given twice would hide.
type grant struct {
	ID         []string `xml:"Grantee>ID"`
	URI        []string `xml:"Grantee>URI"`
	Email      []string `xml:"Grantee>EmailAddress"`
	Permission []string `xml:"Permission"`
}

// private: the ACL says what holds for everything, that the owner has all rights and
// nobody else any.
func (p *accessControlPolicy) private(owner string) bool {
	for _, g := range p.Grants {
		if len(g.ID) != 1 || g.ID[0] != owner || g.URI != nil || g.Email != nil || len(g.Permission) != 1 || g.Permission[0] != "FULL_CONTROL" {
			return false
		}
	}
	return len(p.Grants) > 0
}

// putACL accepts what already holds, as the canned ACL private, or as the document that
// a read of the ACL gave. screen has refused all other canned ACLs.
func (c *call) putACL(there func() error) error {
	if c.who.Length != 0 {
		var p accessControlPolicy
		if err := c.readXML(maxDocument, &p); err != nil {
			return err
		}
		if c.in.acl != "" || !p.private(c.h.owner.ID) {
			return refuse(codeNotImplemented, "Grants are not implemented: only the ACL private is, and the document that says the same.")
		}
	} else if c.in.acl == "" {
		return refuse(codeNotImplemented, "Only the ACL private is implemented.")
	}
	if err := there(); err != nil {
		return err
	}
	c.empty(http.StatusOK)
	return nil
}
