package targettest

import (
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/openkoo/connector/target"
)

// checkLaws are about target.Checker. That a check changes nothing is for each
// connector's own tests to show.
var checkLaws = map[string]func(*law){
	"a server that is well is": func(l *law) {
		require.NoError(l, l.check(l.connector))
	},
	"the wrong secret is told": func(l *law) {
		err := l.check(l.connect(l.address(), "the-wrong-secret"))
		require.NotContains(l, l.failure(err, target.Down).Error(), "the-wrong-secret")
	},
	"a server that is not there is down": func(l *law) {
		l.fails(l.check(l.connect(l.scheme()+"://"+nowhere, l.Secret)), target.Down)
	},
}

func (l *law) check(connector target.Connector) error {
	l.Helper()
	checker, ok := connector.(target.Checker)
	require.True(l, ok, "every connector can check its target")
	return checker.Check(l.ctx)
}

// scheme is that of the connector's protocol.
func (l *law) scheme() string {
	scheme, _, _ := strings.Cut(l.URL, "://")
	return scheme
}

// address is where the connector reaches its server.
func (l *law) address() string {
	if l.proxy == nil {
		return l.URL
	}
	return l.proxy.URL
}
