// A third-party SCIM server in memory, on the libraries scimmy and
// scimmy-routers: what tests deliver to besides our own. It takes its bearer
// token from SCIM_TOKEN, listens on a free port of the loopback interface,
// prints its address, and ends when its standard input does, so that it never
// outlives the test that started it.
import express from "express";
import SCIMMY from "scimmy";
import SCIMMYRouters from "scimmy-routers";

const token = process.env.SCIM_TOKEN;
if (!token) {
    console.error("SCIM_TOKEN is not set");
    process.exit(2);
}

// Collection keeps objects by id, with an index on each attribute that a
// connector looks things up by.
class Collection {
    #prefix;
    #unique;
    #objects = new Map();
    #indexes = new Map();
    #next = 0;

    // unique, if given, is the attribute no two objects may share.
    constructor(prefix, indexed, unique) {
        this.#prefix = prefix;
        this.#unique = unique;
        for (const attribute of indexed) this.#indexes.set(attribute.toLowerCase(), {attribute, ids: new Map()});
    }

    // egress answers one object, or all that match the filter.
    egress(resource) {
        if (resource.id) return this.#get(resource.id);
        if (!resource.filter) return [...this.#objects.values()];
        return resource.filter.match(this.#candidates(resource.filter));
    }

    // ingress takes a new object, or a new form of one that is there.
    ingress(resource, instance) {
        const object = JSON.parse(JSON.stringify(instance));
        const before = resource.id ? this.#get(resource.id) : undefined;
        this.#refuseDuplicate(object, before?.id);
        object.id = before?.id ?? `${this.#prefix}-${++this.#next}`;
        const now = new Date();
        object.meta = {created: before?.meta.created ?? now, lastModified: now};
        // The library appends what is added; no member counts twice.
        if (object.members) object.members = [...new Map(object.members.map((m) => [m.value, m])).values()];
        if (before) this.#unindex(before);
        this.#objects.set(object.id, object);
        this.#index(object);
        return object;
    }

    degress(resource) {
        const object = this.#get(resource.id);
        this.#unindex(object);
        this.#objects.delete(object.id);
    }

    #get(id) {
        const object = this.#objects.get(id);
        if (!object) throw new SCIMMY.Types.Error(404, null, `Resource ${id} not found`);
        return object;
    }

    #refuseDuplicate(object, id) {
        const key = object[this.#unique]?.toLowerCase();
        if (!key) return;
        for (const other of this.#indexes.get(this.#unique.toLowerCase()).ids.get(key) ?? []) {
            if (other !== id) throw new SCIMMY.Types.Error(409, "uniqueness", `${this.#unique} is taken`);
        }
    }

    // candidates are the objects a filter can match: those of the index where
    // it is one comparison for equality, all otherwise.
    #candidates(filter) {
        const [terms, ...others] = filter;
        const [name, expression] = Object.entries(terms)[0] ?? [];
        const index = this.#indexes.get(name?.toLowerCase());
        if (!index || others.length || expression[0] !== "eq") return [...this.#objects.values()];
        return [...(index.ids.get(String(expression[1]).toLowerCase()) ?? [])].map((id) => this.#objects.get(id));
    }

    #index(object) {
        for (const {attribute, ids} of this.#indexes.values()) {
            const key = object[attribute]?.toLowerCase();
            if (key === undefined) continue;
            if (!ids.has(key)) ids.set(key, new Set());
            ids.get(key).add(object.id);
        }
    }

    #unindex(object) {
        for (const {attribute, ids} of this.#indexes.values()) {
            const key = object[attribute]?.toLowerCase();
            ids.get(key)?.delete(object.id);
            if (ids.get(key)?.size === 0) ids.delete(key);
        }
    }
}

function declare(resource, collection) {
    SCIMMY.Resources.declare(resource)
        .ingress((r, instance) => collection.ingress(r, instance))
        .egress((r) => collection.egress(r))
        .degress((r) => collection.degress(r));
}

declare(SCIMMY.Resources.User, new Collection("u", ["externalId", "userName"], "userName"));
declare(SCIMMY.Resources.Group, new Collection("g", ["externalId", "displayName"]));
SCIMMY.Resources.User.extend(SCIMMY.Schemas.EnterpriseUser, false);

const counts = {};
const app = express();
app.get("/requests", (_, response) => response.json(counts));
app.use("/scim/v2", (request, _, next) => {
    const name = `${request.method} /${request.path.split("/")[1]}`;
    counts[name] = (counts[name] ?? 0) + 1;
    next();
});
app.use("/scim/v2", new SCIMMYRouters({
    type: "bearer",
    handler: (request) => {
        if (request.header("Authorization") !== `Bearer ${token}`) throw new Error("the bearer token is wrong");
        return "connector";
    },
}));

const server = app.listen(0, "127.0.0.1", () => console.log(`listening on http://127.0.0.1:${server.address().port}/scim/v2`));
process.stdin.on("end", () => process.exit(0)).resume();
