package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/moby/moby/client"
)

// Sweep removes the containers and images of processes that are gone, and says
// what it removed.
func (e *Engine) Sweep(ctx context.Context) (removed []string, err error) {
	ours := client.Filters{}
	ours.Add("label", labelOwner)
	containers, err := e.docker.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: ours})
	if err != nil {
		return nil, fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	for _, c := range containers.Items {
		if alive(c.Labels) {
			continue
		}
		if err := e.remove(ctx, c.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, "container "+c.ID[:12])
	}
	images, err := e.docker.ImageList(ctx, client.ImageListOptions{Filters: ours})
	if err != nil {
		return removed, fmt.Errorf("sweep: %w", err)
	}
	for _, i := range images.Items {
		if alive(i.Labels) {
			continue
		}
		if err := e.removeImage(ctx, i.ID); err != nil {
			errs = append(errs, err)
			continue
		}
		removed = append(removed, "image "+strings.Join(i.RepoTags, " "))
	}
	return removed, errors.Join(errs...)
}

// removeImage removes an image, unless a container needs it: then whoever comes
// after its end will.
func (e *Engine) removeImage(ctx context.Context, name string) error {
	_, err := e.docker.ImageRemove(ctx, name, client.ImageRemoveOptions{PruneChildren: true})
	if err == nil || strings.Contains(err.Error(), "using") || strings.Contains(err.Error(), "No such image") {
		return nil
	}
	return fmt.Errorf("remove image %s: %w", name, err)
}

// alive reports whether the process with that number and start is alive.
func alive(labels map[string]string) bool {
	pid, err := strconv.Atoi(labels[labelOwner])
	return err == nil && Alive(pid, labels[labelBorn])
}

// Alive reports whether the process of that number that began at that time runs.
func Alive(pid int, start string) bool {
	now := born(pid)
	return now != "" && now == start
}

// Born is when this process began, in a form to compare.
func Born() string { return born(os.Getpid()) }

// born is the 22nd field of /proc/PID/stat: the start, in ticks since boot; ""
// for no process. Where there is no /proc every process counts as gone but this one.
func born(pid int) string {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		if pid == os.Getpid() {
			return "unknown"
		}
		return ""
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	if i := strings.LastIndexByte(string(stat), ')'); i >= 0 {
		rest = string(stat[i+1:])
	}
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return ""
	}
	return fields[19]
}
