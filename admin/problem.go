package admin

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/openkoo/connector/fanout"
	"github.com/openkoo/connector/restore"
	"github.com/openkoo/connector/storage"
)

// problem is an error as RFC 9457 writes it.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

// badRequestError is a request at fault: 400.
type badRequestError struct{ reason string }

func (e *badRequestError) Error() string { return e.reason }

// tooLargeError is an answer that would not fit: 422.
type tooLargeError struct{ reason string }

func (e *tooLargeError) Error() string { return e.reason }

// fail notes why a request fails and ends it; problems writes the document.
func fail(c *gin.Context, err error) {
	_ = c.Error(err)
	c.Abort()
}

func writeProblem(c *gin.Context, status int, detail string) {
	c.Abort()
	c.Header("Content-Type", "application/problem+json")
	c.PureJSON(status, problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail})
}

// problems turns what a handler noted as its error into a problem document,
// and a panic into 500.
func (a *API) problems(c *gin.Context) {
	defer func() {
		if p := recover(); p != nil {
			a.Logger.Error("panic while serving the API", "path", c.FullPath(), "panic", p, "stack", string(debug.Stack()))
			writeProblem(c, http.StatusInternalServerError, "see the log")
		}
	}()
	c.Next()
	if len(c.Errors) == 0 {
		return
	}
	err := c.Errors[0].Err
	status := statusOf(err)
	switch {
	case status < http.StatusInternalServerError:
		writeProblem(c, status, err.Error())
	case errors.Is(c.Request.Context().Err(), context.Canceled): // the caller hung up
		c.Abort()
	case status == http.StatusServiceUnavailable:
		a.Logger.Error("request timed out", "path", c.FullPath(), "error", err)
		writeProblem(c, status, "the store took too long; ask for less, or try again")
	default:
		a.Logger.Error("request failed", "path", c.FullPath(), "error", err)
		writeProblem(c, status, "see the log")
	}
}

// statusOf is the HTTP status of an error.
func statusOf(err error) int {
	_, isBad := errors.AsType[*badRequestError](err)
	_, isLarge := errors.AsType[*tooLargeError](err)
	switch {
	case isBad, errors.Is(err, storage.ErrBadCursor):
		return http.StatusBadRequest
	case isLarge, errors.Is(err, fanout.ErrCannotList):
		return http.StatusUnprocessableEntity
	case errors.Is(err, storage.ErrNotFound), errors.Is(err, fanout.ErrUnknownTarget):
		return http.StatusNotFound
	case errors.Is(err, storage.ErrFeedSetBack):
		return http.StatusGone
	case errors.Is(err, storage.ErrConflict), errors.Is(err, fanout.ErrNothingHeld), errors.Is(err, restore.ErrRefused),
		errors.Is(err, fanout.ErrResyncing), errors.Is(err, fanout.ErrUnfit):
		return http.StatusConflict
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// Owns reports whether a path belongs to the API, so that what is not found
// there is answered in the API's words.
func Owns(path string) bool { return path == "/api" || strings.HasPrefix(path, "/api/") }

// NotFound answers a path or a method of the API that there is not.
func NotFound(c *gin.Context) {
	status := http.StatusNotFound
	if c.Writer.Status() == http.StatusMethodNotAllowed {
		status = http.StatusMethodNotAllowed
	}
	writeProblem(c, status, c.Request.Method+" "+c.Request.URL.Path+": no such call; GET /api/v1 lists them")
}
