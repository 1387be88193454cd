// Package checksum computes the checksums that S3 knows, and MD5 for ETags.
//
// Values are raw bytes, CRCs in big-endian order, as S3 puts them into base64.
package checksum
