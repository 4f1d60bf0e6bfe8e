package main

import (
	"runtime"
	"runtime/debug"
)

// version is what the build knows of itself: the module's version, or the
// commit, and the Go release.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown) " + runtime.Version()
	}
	text := info.Main.Version
	if text == "" || text == "(devel)" {
		text = "(devel)"
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				text = "(devel) " + s.Value[:min(12, len(s.Value))]
			}
		}
	}
	return text + " " + info.GoVersion
}
