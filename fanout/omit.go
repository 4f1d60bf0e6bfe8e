package fanout

import (
	"errors"
	"slices"
	"strings"

	"github.com/openkoo/connector/storage"
	"github.com/openkoo/connector/target"
)

const (
	// omitMark stands in a hash before the attributes that were left out.
	omitMark = "!"
	// namedMost bounds the attributes that a target names one after another.
	namedMost = 8
	// omittedClass marks an object that was delivered without some attribute.
	omittedClass = "omitted"
)

// sparing sends an object. If the target refuses it for what it says, it is sent
// without the attributes that are at fault, if the target takes the rest: nobody
// is to be without an account for the sake of a telephone number. refusal is
// what the target said to those that are left out.
func (r *round) sparing(send func(omit []string) error) (omitted []string, refusal, err error) {
	err = send(nil)
	refusal = err
	suspects := suspected(err, nil)
	for len(suspects) == 1 && len(omitted) < namedMost {
		omitted = append(omitted, suspects[0])
		refusal, err = err, send(omitted)
		suspects = suspected(err, omitted)
	}
	if err == nil {
		return omitted, refusal, nil
	}
	if len(suspects) < 2 {
		return nil, nil, err
	}
	// It does not say which. Without all of them the rest is there, whatever
	// comes of the search for the one.
	all := slices.Concat(omitted, suspects)
	if failed := send(all); errors.Is(failed, errNotSent) {
		return nil, nil, failed
	} else if failed != nil {
		return nil, nil, err
	}
	for _, one := range r.likeliest(suspects) {
		fewer := append(slices.Clone(omitted), one)
		switch failed := send(fewer); {
		case failed == nil:
			r.omittedLast.Store(&one)
			return fewer, err, nil
		case target.ClassOf(failed) != target.Permanent:
			return all, err, nil
		}
	}
	return all, err, nil
}

// likeliest puts the attribute first that was at fault the last time.
func (r *runner) likeliest(suspects []string) []string {
	last := r.omittedLast.Load()
	if last == nil {
		return suspects
	}
	at := slices.Index(suspects, *last)
	if at < 0 {
		return suspects
	}
	return slices.Concat([]string{*last}, suspects[:at], suspects[at+1:])
}

// suspected are the attributes that a refusal may be for, less those that were
// left out already.
func suspected(err error, omitted []string) []string {
	e, ok := errors.AsType[*target.Error](err)
	if !ok || e.Class != target.Permanent {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(e.Attributes), func(name string) bool { return target.Omitted(omitted, name) })
}

// omittedHash is the hash of an object that was sent without some attributes.
func omittedHash(hash string, omitted []string) string {
	if len(omitted) == 0 {
		return hash
	}
	return hash + omitMark + strings.Join(omitted, ",")
}

// omittedOf are the attributes without which a slot's object was delivered.
func omittedOf(slot storage.Slot) []string {
	_, list, ok := strings.Cut(strings.TrimSuffix(slot.Hash, inactiveMark), omitMark)
	if !ok {
		return nil
	}
	return strings.Split(list, ",")
}

// deliveredWithout settles an object that the target did not take as a whole: it
// is delivered, and says what is missing and why.
func (r *round) deliveredWithout(slot storage.Slot, hash string, omitted []string, refusal error) {
	settled := r.done(slot, hash)
	if len(omitted) > 0 && refusal != nil {
		settled.ErrorClass = omittedClass
		settled.LastError = cut("delivered without "+strings.Join(omitted, ", ")+": "+refusal.Error(), maxLastError)
		r.note(&r.incomplete, slot, errors.New(settled.LastError)) //nolint:err113 // to be logged
	}
	r.settle(settled)
}
