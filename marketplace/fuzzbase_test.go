package marketplace

import (
	"errors"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/directory"
)

// checkCall holds a decoded call to what the lifecycle relies on.
func checkCall(t *testing.T, call *directory.InstanceCall, err error) {
	t.Helper()
	if err != nil {
		invalid, ok := errors.AsType[*directory.InvalidError](err)
		require.True(t, ok, "%T: %v", err, err)
		require.NotEmpty(t, invalid.Member)
		return
	}
	require.True(t, call.Dataset.Valid())
	for _, text := range append([]string{call.OrderID, call.OrderLineID, call.ProductID, call.BusinessID, call.LicenseEvent}, call.InstanceIDs...) {
		require.LessOrEqual(t, utf8.RuneCountInString(text), maxID)
		require.True(t, utf8.ValidString(text))
	}
	switch call.Activity {
	case directory.NewInstance:
		require.NotEmpty(t, call.OrderID)
		require.NotEmpty(t, call.BusinessID)
		require.NotEmpty(t, call.OrderKeys())
	case directory.RefreshInstance:
		require.True(t, !call.ExpireTime.IsZero() || call.Years+call.Months+call.Days > 0)
	}
	if call.Activity != directory.NewInstance {
		require.NotEmpty(t, call.InstanceIDs)
		require.LessOrEqual(t, len(call.InstanceIDs), maxInstances)
		require.NotContains(t, call.InstanceIDs, "")
	}
}

func FuzzV1Params(f *testing.F) {
	f.Add("activity=newInstance&businessId=b&orderId=o&customerId=c&timeStamp=20260506070809000&authToken=x")
	f.Add("activity=refreshInstance&instanceId=i&orderId=o&periodType=year&periodNumber=2")
	f.Add("activity=queryInstance&instanceId=a,b,c&encryptType=2")
	f.Add("activity=getLicense&instanceId=i&eventId=e&testFlag=1")
	f.Add("activity=newInstance&mobilePhone=A1b2C3d4E5f6G7h8xp5hLk6pugTMDgciAsssyA%3D%3D&customerName=%22%5C")
	f.Add("a=1;b=2&%zz=%")
	f.Fuzz(func(t *testing.T, query string) {
		params, token, err := ParseV1Query(query)
		if err != nil {
			checkCall(t, nil, err)
			return
		}
		form := paramForm(params)
		for _, p := range params {
			v, _ := form.find(p.Name)
			require.Equal(t, p.Value, unquote(v.text), "a parameter is read as it was sent")
		}
		stamp, _ := form.find("timeStamp")
		signed := authToken("ak", unquote(stamp.text), JoinV1(params))
		_, ok := verifyV1([]string{"ak"}, signed, unquote(stamp.text), params)
		require.True(t, ok)
		_, _ = verifyV1([]string{"ak"}, token, "", params)
		call, how, err := decodeCallV1(form, "ak-0-7f3c9e", time.UnixMilli(1))
		checkCall(t, call, err)
		if err == nil {
			require.Contains(t, []EncryptType{AES256, AES128}, how)
		}
	})
}

func FuzzBaseCall(f *testing.F) {
	f.Add(`{"activity":"newInstance","businessId":"b","orderId":"o","orderLineId":"l","testFlag":"1"}`)
	f.Add(`{"activity":"refreshInstance","scene":"RENEWAL","orderId":"o","orderLineId":"l","instanceId":"i","expireTime":"20300101000000"}`)
	f.Add(`{"activity":"getLicenseAsync","instanceId":"i","eventId":"e","effectiveTime":"x"}`)
	f.Add(`{"activity":"queryInstance","instanceId":"\u0061,b","testFlag":true}`)
	f.Fuzz(func(t *testing.T, body string) {
		members, err := scanBody(body)
		if err != nil {
			return
		}
		call, err := decodeCall((&form{members: members}), time.UnixMilli(1))
		checkCall(t, call, err)
	})
}

func FuzzSensitive(f *testing.F) {
	f.Add("A1b2C3d4E5f6G7h8xp5hLk6pugTMDgciAsssyA==", 1)
	f.Add("short", 2)
	f.Fuzz(func(t *testing.T, sealed string, how int) {
		text, err := DecryptSensitive("ak-0-7f3c9e", sealed, EncryptType(how))
		require.True(t, err != nil || utf8.ValidString(text))
	})
}
