package config

import "time"

// Interfaces says which generations of the marketplace's interfaces are served.
type Interfaces struct {
	KitV1    bool          `koanf:"kitV1" env:"KIT_V1" default:"true" desc:"Serve the kit's V1 interfaces beside V2."`
	BaseV1   bool          `koanf:"baseV1" env:"BASE_V1" default:"true" desc:"Serve the base interface V1 (GET)."`
	BaseV2   bool          `koanf:"baseV2" env:"BASE_V2" default:"true" desc:"Serve the base interface V2 (POST)."`
	KitV2    bool          `koanf:"kitV2" env:"KIT_V2" default:"true" desc:"Serve the kit's V2 interfaces."`
	V1Window time.Duration `koanf:"v1Window" env:"V1_WINDOW" default:"24h" desc:"How far the timeStamp of a V1 call may be from now; 0 for no bound, as the protocol names none. Debugging calls have none."`
}

// Instances says how what buyers have bought is provisioned.
type Instances struct {
	RequireKnown bool `koanf:"requireKnown" env:"REQUIRE_KNOWN_INSTANCE" default:"false" desc:"Refuse kit adds and modifies of an instanceId that no newInstance has made (000003). Deletes and the empty instanceId always pass."`

	Provisioner string `koanf:"provisioner" env:"INSTANCE_PROVISIONER" default:"static" desc:"static: answer from the templates below. webhook: ask your server."`
	FrontEndURL string `koanf:"frontEndUrl" env:"INSTANCE_FRONT_END_URL" desc:"static: where buyers sign in; {instanceId}, {orderId}, {orderLineId} and {productId} are filled in. Empty: an instance waits until POST /api/v1/instances/{id}/complete."`
	AdminURL    string `koanf:"adminUrl" env:"INSTANCE_ADMIN_URL" desc:"static: where the buyer's administrator signs in; filled in as frontEndUrl."`
	Memo        string `koanf:"memo" env:"INSTANCE_MEMO" desc:"static: a note for the buyer; filled in as frontEndUrl."`
	License     Secret `koanf:"license" env:"INSTANCE_LICENSE" desc:"static: the text of a License; {eventId} is filled in too. Empty: a License waits until it is completed."`

	WebhookURL     Secret        `koanf:"webhookUrl" env:"INSTANCE_WEBHOOK_URL" desc:"webhook: your server's address."`
	WebhookSecret  Secret        `koanf:"webhookSecret" env:"INSTANCE_WEBHOOK_SECRET" desc:"webhook: signs the calls (standardwebhooks.com): whsec_ and Base64 of at least 24 bytes."`
	CAFile         string        `koanf:"caFile" env:"INSTANCE_CA_FILE" desc:"webhook: PEM of further authorities whose certificates your server may have."`
	Plaintext      bool          `koanf:"plaintext" env:"INSTANCE_PLAINTEXT" default:"false" desc:"webhook: let personal data go unencrypted to another machine: http://."`
	WebhookTimeout time.Duration `koanf:"webhookTimeout" env:"INSTANCE_WEBHOOK_TIMEOUT" default:"30s" desc:"webhook: how long one call may take."`
	Patience       time.Duration `koanf:"patience" env:"INSTANCE_PATIENCE" default:"5s" desc:"webhook: how long newInstance waits for your server before it is answered 000004."`
}

// BaseKeys are the access keys of the base interface: its own, or else the
// kit's, for a seller may have one for both.
func (c *Config) BaseKeys() []string {
	if len(c.BaseAccessKeys) > 0 {
		return reveal(c.BaseAccessKeys)
	}
	return c.KitKeys()
}

func (v *checker) instances(c *Config) {
	i := &c.Instances
	v.oneOf("instances.provisioner", i.Provisioner, "static", "webhook")
	if i.Provisioner == "webhook" {
		v.checkf(i.WebhookURL != "", "instances.webhookUrl", "missing, and provisioner is webhook")
		v.checkf(i.WebhookSecret != "", "instances.webhookSecret", "missing, and provisioner is webhook")
	}
	v.checkf(i.WebhookTimeout > 0, "instances.webhookTimeout", "want more than 0")
	v.checkf(i.Patience > 0, "instances.patience", "want more than 0")
	v.checkf(c.Interfaces.V1Window >= 0, "interfaces.v1Window", "less than 0")
	v.checkf(c.Interfaces.KitV2 || c.Interfaces.KitV1 || c.Interfaces.BaseV2 || c.Interfaces.BaseV1, "interfaces", "all are switched off: nothing would be served")
}
