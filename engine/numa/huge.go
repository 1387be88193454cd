//go:build linux

package numa

import (
	"os"
	"path"
	"strconv"
)

// FreeHugePages asks how many reserved huge pages of a size the node's pool has
// now that nobody has taken or been promised; for a nil node, the machine's pools.
func (n *Node) FreeHugePages(size int64) int64 {
	r := reader{root: os.DirFS("/")}
	pool := "hugepages-" + strconv.FormatInt(size>>10, 10) + "kB"
	if n.Uniform() {
		dir := path.Join(hugeDir, pool)
		return max(r.number(path.Join(dir, "free_hugepages"))-r.number(path.Join(dir, "resv_hugepages")), 0)
	}
	return r.number(path.Join(nodeDir, "node"+strconv.Itoa(n.ID), "hugepages", pool, "free_hugepages"))
}
