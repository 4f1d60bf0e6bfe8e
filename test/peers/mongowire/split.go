package main

import (
	"bufio"

	"github.com/FerretDB/wire"
	"github.com/FerretDB/wire/wirebson"
)

// updatesAtOnce bounds the statements of one update command. FerretDB 1.x keeps
// a connection for each until the command ends and has 100: with more it waits
// for itself for ever.
const updatesAtOnce = 50

// updates are the statements of an update command too long for FerretDB.
func updates(message *wire.OpMsg) (body *wirebson.Document, statements []wirebson.RawDocument) {
	body, err := message.RawSection0().Decode()
	if err != nil || body.Command() != "update" {
		return nil, nil
	}
	for _, section := range message.Sections() {
		if section.Kind == 1 && section.Identifier == "updates" {
			statements = append(statements, section.Documents()...)
		}
	}
	if len(statements) <= updatesAtOnce {
		return nil, nil
	}
	return body, statements
}

// outcome is the answers to the parts of a command, in one.
type outcome struct {
	n, modified int32
	upserted    *wirebson.Array
	errors      *wirebson.Array
}

// split sends an update command in parts and joins their answers.
func split(header *wire.MsgHeader, body *wirebson.Document, statements []wirebson.RawDocument, from *bufio.Reader, to *bufio.Writer) (*wire.MsgHeader, wire.MsgBody, error) {
	ordered, ok := body.Get("ordered").(bool)
	joined := outcome{upserted: wirebson.MakeArray(0), errors: wirebson.MakeArray(0)}
	for offset := 0; offset < len(statements); offset += updatesAtOnce {
		part := statements[offset:min(offset+updatesAtOnce, len(statements))]
		answer, header, err := sendPart(header, body, part, from, to)
		if err != nil {
			return nil, nil, err
		}
		document, err := answer.RawSection0().DecodeDeep()
		if err != nil {
			return nil, nil, err
		}
		if document.Get("ok") != float64(1) {
			return header, answer, nil
		}
		joined.add(document, int32(offset))
		if joined.errors.Len() > 0 && (ordered || !ok) {
			break
		}
	}
	return joined.answer(header)
}

func sendPart(header *wire.MsgHeader, body *wirebson.Document, part []wirebson.RawDocument, from *bufio.Reader, to *bufio.Writer) (*wire.OpMsg, *wire.MsgHeader, error) {
	document := wirebson.MakeDocument(body.Len() + 1)
	for name, value := range body.All() {
		if err := document.Add(name, value); err != nil {
			return nil, nil, err
		}
	}
	list := wirebson.MakeArray(len(part))
	for _, statement := range part {
		if err := list.Add(statement); err != nil {
			return nil, nil, err
		}
	}
	if err := document.Add("updates", list); err != nil {
		return nil, nil, err
	}
	message, err := wire.NewOpMsg(document)
	if err != nil {
		return nil, nil, err
	}
	if err := write(to, header, message); err != nil {
		return nil, nil, err
	}
	answered, answer, err := wire.ReadMessage(from)
	if err != nil {
		return nil, nil, err
	}
	return answer.(*wire.OpMsg), answered, nil
}

// write sends a message under the header of another.
func write(to *bufio.Writer, header *wire.MsgHeader, message *wire.OpMsg) error {
	encoded, err := message.MarshalBinary()
	if err != nil {
		return err
	}
	head := *header
	head.MessageLength = int32(wire.MsgHeaderLen + len(encoded))
	if err := wire.WriteMessage(to, &head, message); err != nil {
		return err
	}
	return to.Flush()
}

// add adds the answer to a part that began at offset.
func (o *outcome) add(answer *wirebson.Document, offset int32) {
	n, _ := answer.Get("n").(int32)
	modified, _ := answer.Get("nModified").(int32)
	o.n, o.modified = o.n+n, o.modified+modified
	for name, into := range map[string]*wirebson.Array{"upserted": o.upserted, "writeErrors": o.errors} {
		list, ok := answer.Get(name).(*wirebson.Array)
		if !ok {
			continue
		}
		for value := range list.Values() {
			entry := value.(*wirebson.Document)
			index, _ := entry.Get("index").(int32)
			_ = entry.Replace("index", index+offset)
			_ = into.Add(entry)
		}
	}
}

func (o *outcome) answer(request *wire.MsgHeader) (*wire.MsgHeader, wire.MsgBody, error) {
	document := wirebson.MustDocument("n", o.n, "nModified", o.modified)
	for name, list := range map[string]*wirebson.Array{"upserted": o.upserted, "writeErrors": o.errors} {
		if list.Len() > 0 {
			if err := document.Add(name, list); err != nil {
				return nil, nil, err
			}
		}
	}
	if err := document.Add("ok", float64(1)); err != nil {
		return nil, nil, err
	}
	message, err := wire.NewOpMsg(document)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := message.MarshalBinary()
	if err != nil {
		return nil, nil, err
	}
	return &wire.MsgHeader{
		MessageLength: int32(wire.MsgHeaderLen + len(encoded)), RequestID: request.RequestID, ResponseTo: request.RequestID, OpCode: wire.OpCodeMsg,
	}, message, nil
}
