// Package fusefs is a FUSE file system that shows a directory and ill-treats
// what a server does there: it delays, fails, fills up, flips bits, and at a crash
// it forgets what was not synced.
//
// What was written lies in the directory at once; beside it are kept, page by
// page, the bytes that were there at the file's last sync. A crash, or a sync
// that fails and loses its pages, puts them back: all, or by chance some, since
// a kernel may have written any of them by itself. The server runs in a
// container, on the mount; a kill of it and Crash together are a loss of power as
// the server's files see it.
//
// The page cache is out of the way (direct I/O), so that every read, write and
// sync of the server comes here.
//
// What is not modelled: names. A file that was created, renamed or removed
// stays so, though its directory was never synced. (Package engine/disk does
// that, in memory and exhaustively.)
package fusefs
