package scim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/openkoo/connector/target"
)

// replaceTries bounds how often an object is read and written back that others
// change at the same time.
const replaceTries = 3

// update changes an object: by PATCH, or by PUT on a server without.
func (k collection) update(ctx context.Context, id string, all attributes) error {
	if k.puts() {
		return k.replace(ctx, id, all.onto)
	}
	strict := k.c.service.removesStrictly.Load() && all.removes()
	if strict {
		var err error
		if all, err = k.withoutAbsent(ctx, id, all); err != nil {
			return err
		}
	}
	err := k.patch(ctx, id, all)
	if statusOf(err) == http.StatusBadRequest && !strict && all.removes() {
		// Some servers refuse to remove what is not there.
		fewer, failed := k.withoutAbsent(ctx, id, all)
		if failed == nil && len(fewer) < len(all) {
			if again := k.patch(ctx, id, fewer); again == nil {
				k.c.service.removesStrictly.Store(true)
				return nil
			}
		}
	}
	if k.fallsBack(err) {
		return k.replace(ctx, id, all.onto)
	}
	return k.withHint(err)
}

func (k collection) patch(ctx context.Context, id string, all attributes) error {
	return k.c.http.do(ctx, call{op: "patch " + k.noun, method: http.MethodPatch, path: k.one(id), body: all.patch()})
}

// withoutAbsent leaves out what is to be removed and is not there.
func (k collection) withoutAbsent(ctx context.Context, id string, all attributes) (attributes, error) {
	d, _, err := k.read(ctx, id)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(all), func(a attribute) bool { return a.value == nil && lookUp(d, a.path) == nil }), nil
}

// puts reports whether objects are changed by PUT.
func (k collection) puts() bool {
	return k.method == MethodPut || k.method == MethodAuto && k.usingPut.Load()
}

// fallsBack reports whether a PATCH was refused for what it is, and PUT is to
// be tried, now and from now on.
func (k collection) fallsBack(err error) bool {
	if k.method != MethodAuto || !refusesMethod(err) {
		return false
	}
	k.usingPut.Store(true)
	k.c.service.doubt()
	return true
}

// withHint makes the refusal of a method one that no retry can heal.
func (k collection) withHint(err error) error {
	if !refusesMethod(err) {
		return err
	}
	return permanent(err, "the server does not do that; change scim."+k.noun+"Changes")
}

// refusesMethod reports whether a server does not know a method at all.
func refusesMethod(err error) bool {
	status := statusOf(err)
	return status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented
}

// permanent is a failure that no retry can heal, with a word of ours before
// the target's own.
func permanent(err error, detail string) error {
	e, ok := errors.AsType[*target.Error](err)
	if !ok {
		return err
	}
	final := *e
	final.Class, final.UnknownOutcome = target.Permanent, false
	final.Detail = strings.TrimSpace(detail + ". " + e.Detail)
	return &final
}

// document is an object as its server has it, with what others wrote.
type document map[string]any

// replace reads an object, has it changed, and writes it back whole. What is
// not ours is kept, what the server alone may set is left out, and a change by
// somebody else in between is not overwritten where the server tells versions.
// Nothing is written if nothing changes.
func (k collection) replace(ctx context.Context, id string, change func(document)) error {
	var err error
	for range replaceTries {
		var before document
		var tag string
		if before, tag, err = k.read(ctx, id); err != nil {
			return err
		}
		after := before.clone()
		change(after)
		if reflect.DeepEqual(before, after) {
			return nil
		}
		k.leaveOut(after)
		_, err = k.c.http.send(ctx, call{op: "put " + k.noun, method: http.MethodPut, path: k.one(id), body: after, ifMatch: tag})
		if statusOf(err) != http.StatusPreconditionFailed {
			return k.withHint(err)
		}
	}
	return err
}

// read reads an object whole, and its version if the server tells.
func (k collection) read(ctx context.Context, id string) (document, string, error) {
	answer, err := k.c.http.send(ctx, call{op: "read " + k.noun, method: http.MethodGet, path: k.one(id)})
	if err != nil {
		return nil, "", err
	}
	if err := answer.Into(&map[string]any{}); err != nil {
		return nil, "", err
	}
	var d document
	// Numbers stay as they are written: what others keep may be longer than a float.
	decoder := json.NewDecoder(bytes.NewReader(answer.Body))
	decoder.UseNumber()
	if err := decoder.Decode(&d); err != nil || d[d.name("id")] == nil {
		return nil, "", &target.Error{Class: target.Transient, Op: answer.Op, Status: answer.Status, Detail: "the answer is not the object that was asked for"}
	}
	tag := answer.Header.Get("ETag")
	if meta, ok := d["meta"].(map[string]any); ok && tag == "" {
		tag, _ = meta["version"].(string)
	}
	return d, tag, nil
}

// leaveOut drops what the server alone may set.
func (k collection) leaveOut(d document) {
	m := k.c.service.model.Load()
	for name := range d {
		lower := strings.ToLower(name)
		if lower == "meta" || k.unique && (lower == "groups" || m != nil && lower != "id" && m.readOnly[lower]) {
			delete(d, name)
		}
	}
}

// clone copies a document all the way down.
func (d document) clone() document {
	copied, _ := cloned(map[string]any(d)).(map[string]any)
	return copied
}

func cloned(value any) any {
	switch v := value.(type) {
	case map[string]any:
		copied := make(map[string]any, len(v))
		for name, one := range v {
			copied[name] = cloned(one)
		}
		return copied
	case []any:
		copied := make([]any, len(v))
		for i, one := range v {
			copied[i] = cloned(one)
		}
		return copied
	default:
		return value
	}
}
