package main

import (
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
	"golang.org/x/term"
)

// widthOf is how wide a terminal is, in characters; 0 where w is none.
func widthOf(w io.Writer) int {
	file := fileOf(w)
	if file == nil {
		return 0
	}
	width, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// showProgress shows a bar where somebody can see it. done ends it.
func showProgress(w io.Writer, message string, total int64) (tick func(n int64), done func(ok bool)) {
	file := fileOf(w)
	if file == nil || !term.IsTerminal(int(file.Fd())) {
		return func(int64) {}, func(bool) {}
	}
	bar := progress.NewWriter()
	bar.SetOutputWriter(file)
	bar.SetUpdateFrequency(100 * time.Millisecond)
	bar.SetAutoStop(true)
	tracker := &progress.Tracker{Message: message, Total: total}
	bar.AppendTracker(tracker)
	rendered := make(chan struct{})
	go func() { bar.Render(); close(rendered) }()
	return tracker.Increment, func(ok bool) {
		if ok {
			tracker.MarkAsDone()
		} else {
			tracker.MarkAsErrored()
		}
		<-rendered
	}
}
