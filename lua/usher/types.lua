---@meta
--- What a policy's Lua sees, for editors that read these annotations (LuaCATS) and for
--- docs/rules.md. There is no code here: the objects are made in src/policy.
--- Times and durations are integers in milliseconds, money is an integer in minor units.
--- Objects are read-only, live during one call, and equal by `==`.

---@class Counts
---@field free integer
---@field held integer
---@field booked integer
---@field blocked integer

---@class Event one thing that is sold: a show, an evening, a leg of a train
---@field id string
---@field status "open"|"closed"
---@field attributes table decoded JSON, {} when there are none
---@field attributes_text string as it was given
---@field ruleset string "" for the policy's own
---@field currency string "" until the first order
---@field zone string|nil the attribute `zone`
---@field chart string the chart's id
---@field counts Counts numbered seats by status
---@field seats_total integer numbered seats of the chart
---@field index integer log index of the last change
local Event = {}

--- The seat of that label or alias.
---@param label string
---@return Seat|nil
function Event:seat(label) end

--- All rows, in the chart's order.
---@return Row[]
function Event:rows() end

--- Runs of free neighbours of at least `min` seats; a run never crosses an aisle.
---@param options? { min?: integer, category?: string }
---@return Seat[][]
function Event:runs(options) end

--- The area of that name.
---@param name string
---@return Area|nil
function Event:area(name) end

---@return Area[]
function Event:areas() end

---@return string[] names of categories
function Event:categories() end

--- The label one edit away, for "did you mean".
---@param label string
---@return string|nil
function Event:nearest(label) end

--- The seats of a table.
---@param name string
---@return Seat[]|nil
function Event:table(name) end

--- Each section in the chart's order: its name, its first seat and how many seats are what.
---@return { name: string, first: Seat, free: integer, held: integer, booked: integer, blocked: integer }[]
function Event:sections() end

---@class Row `row[i]` is a seat, `#row` how many there are
---@field name string
---@field section string
---@field event Event

---@class Seat a numbered seat
---@field label string
---@field alias string|nil
---@field event Event
---@field row Row
---@field section string
---@field position integer from 1: `seat.row[seat.position] == seat`
---@field category string
---@field table string|nil
---@field x number 0 where the chart gives none
---@field y number
---@field accessible boolean for a wheelchair user
---@field companion boolean for whoever comes along
---@field restricted boolean with a restricted view
---@field status "free"|"held"|"booked"|"blocked"
---@field order Order|nil who has it
---@field reason string|nil why it is blocked
---@field seat Seat itself
---@field count integer 1
local Seat = {}

--- The neighbour behind (1) or before (-1); nil at the row's end and, unless `across`, at an aisle.
---@param step 1|-1
---@param across? boolean
---@return Seat|nil
function Seat:next(step, across) end

---@class Area places without numbers
---@field name string
---@field label string the same
---@field category string
---@field capacity integer
---@field held integer
---@field booked integer
---@field free integer below 0 when overbooked
---@field overbook boolean a rule of its event may let it exceed its capacity
---@field event Event

---@class Place a seat, or some places of an area, as a request or an order names them
---@field seat Seat|nil
---@field area Area|nil
---@field event Event
---@field label string
---@field category string
---@field type string|nil ticket type, as in `A1=child`
---@field count integer 1 for a seat
---@field price integer minor units, for all `count` (of orders)
---@field data any|nil as in {"seat":"A1","data":{}}, while it is asked for; an order does not keep it

---@class OrderLine
---@field event string
---@field category string
---@field type string|nil
---@field count integer
---@field price integer each
---@field total integer

---@class Order
---@field id string
---@field customer string
---@field status "held"|"booked"|"released"|"cancelled"|"expired"
---@field expires_at integer|nil ms, while it is held
---@field first_held_at integer ms
---@field changed_at integer ms
---@field seats Place[]
---@field lines OrderLine[]
---@field price integer
---@field currency string|nil that of its event, once it has one
---@field metadata string|nil JSON text
---@field policy integer version of the policy that judged it last
---@field index integer log index of its last change
---@field unjudged boolean taken with rules = false

---@class User
---@field name string
---@field access "public"|"client"|"operator"|"admin"
---@field roles table a list, and a set: roles["box-office"]

---@alias SeatLike Seat|Place|Area|string|{ seat?: any, area?: any, event?: Event, type?: string, count?: integer }

---@alias Score { by: string, x?: number, y?: number }|fun(seats: Seat[]): number

---@class Tx the transaction: everything a command, rule, price or hook reads and does
---@field now integer ms, the time of the entry
---@field index integer log index it will have
---@field user User
---@field dry_run boolean
---@field policy { version: integer, name: string, rules: string[] }
local Tx = {}

---@return Event|nil
function Tx:event(id) end

---@return Order|nil
function Tx:order(id) end

--- Orders in order of creation, at most 1,000.
---@param filter { customer?: string, event?: Event, status?: string, since?: integer, after?: string, limit?: integer }
---@return Order[]
function Tx:orders(filter) end

--- Events in order of creation, behind `after`.
---@param after? Event|string
---@param limit? integer
---@return Event[]
function Tx:events(after, limit) end

--- Ids of charts, sorted, behind `after`, at most 1,000.
---@param after? string
---@param limit? integer
---@return string[]
function Tx:charts(after, limit) end

--- Places that a customer has at an event, over all live orders.
---@param event Event
---@param customer string
---@param category? string
---@return integer held, integer booked
function Tx:count(event, customer, category) end

--- The settings that apply to an event: those of its ruleset, else the policy's own.
---@param event Event
---@return Settings
function Tx:settings(event) end

---@return table<string, true> names of rulesets
function Tx:rulesets() end

--- As math.random.
---@return number
function Tx:random(m, n) end

--- A value that the policy keeps.
---@param key string at most 512 bytes
---@return any|nil
function Tx:get(key) end

--- Keeps a value (anything that JSON can say), or drops it with nil.
---@param key string
---@param value any|nil
function Tx:set(key, value) end

--- Sorted keys.
---@param prefix string
---@param after? string
---@param limit? integer
---@return string[]
function Tx:keys(prefix, after, limit) end

--- Tells the hooks of node scripts, once the entry has committed.
---@param name string
---@param value? any
function Tx:emit(name, value) end

--- The codes that came with the request.
---@return table<string, true>
function Tx:codes() end

--- From here on these codes count instead, and no user: for a request that is carried out later than it
--- was made, by somebody else's command. nil: both are the request's again. Rules see `since` as ask.waiting.
---@param codes string[]|nil
---@param since? integer ms
function Tx:with_codes(codes, since) end

--- Calls f(...) for something the command can do without. When it raises, or would need more than
--- three quarters of the command's budget, its effects are undone and the command goes on.
---@param f function
---@param ... any
---@return boolean done
---@return any ... what f returns, or the error
function Tx:attempt(f, ...) end

--- How much of the command's budget is used: of its instructions or of its time, whichever is more.
---@return integer percent
function Tx:used() end

--- Takes free seats: a new order, held for `hold` (ms or "15m"; true: the least hold_ttl of its events) or,
--- without, booked. Judged, priced, hooked.
--- `late` confirms an expired order late: the same seats, if they are free, their events open and the rules
--- grant it.
---@param t { customer?: string, seats?: SeatLike|SeatLike[], hold?: integer|string|boolean, metadata?: string, rules?: boolean, overbook?: boolean, event?: Event, late?: Order }
---@return Order
function Tx:take(t) end

--- Books what is held.
---@param options? { metadata?: string, rules?: boolean }
---@return Order
function Tx:confirm(order, options) end

--- Lets a hold last until then; at most hold_max after it was first held. Judged by the rules on "extend".
---@return Order
function Tx:extend(order, until_ms) end

--- Ends an order, or gives some of its places back.
---@param how "released"|"cancelled"|"expired"
---@param seats? SeatLike[]
---@return Order
function Tx:finish(order, how, seats) end

--- Gives an order other places: `seats` are all of them afterwards. Judged and priced again.
---@param options? { rules?: boolean, overbook?: boolean }
---@return Order
function Tx:reseat(order, seats, options) end

--- Exchanges seats of two orders; judged for both. No held seat gets into a hold that began after its own.
---@param options? { rules?: boolean }
---@return Order, Order
function Tx:swap(one, seats, other, other_seats, options) end

--- Makes some places an order of their own; nothing comes free in between.
---@return Order
function Tx:split(order, seats) end

---@param changes { metadata?: string, price?: integer }
---@return Order
function Tx:amend(order, changes) end

---@param seats SeatLike[]
---@param reason? string
function Tx:block(seats, reason) end

---@param seats SeatLike[]
function Tx:unblock(seats) end

--- The best free seats that every rule grants and that have a price, or nil, why, and which rule was in the
--- way ("price": the price function). They are priced without ticket types, so that its BADARG refuses none.
--- `denial` is that of the first block, when all were refused by one rule.
--- With a list of events (and with `also`) the same seats must be free on all of them; a list gives seats of all.
--- `orphans`: nil avoids single seats, false never leaves one, true does not mind. The rules see them
--- held for `hold`, as `tx:take` will with the same; without it booked. With `leaves`, places that an
--- order gives up and that count as free, they judge what `tx:reseat` will ask: the seats and what the
--- order keeps. `order` says whose places those are; without it, whoever has the numbered ones among them.
--- At most `tries` blocks are judged, 1,000 when not given, and 32 times as many seats put before `seat` rules.
---@param t { event: Event|Event[], customer?: string, count: integer, category?: string, also?: Event[], order?: Order, leaves?: SeatLike[], score?: Score, orphans?: boolean, split?: boolean, hold?: integer|string, tries?: integer }
---@return Seat[]|nil seats, string? reason, { rule: string, refused: integer, tried: integer, denial?: Denial }? why
function Tx:best(t) end

--- Would the rules grant it? A take is judged as tx:take with the same `hold`; without it booked. With `price`
--- the price function is asked as well, and the price is returned; with `rules` = false it alone is. To "wait" has an
--- `event` and a `count` in place of seats. `trace`: this is the request itself, not a thought of the command, and a
--- dry run shows what each rule says to it.
---@param ask { verb: "take"|"confirm"|"reseat"|"extend"|"wait", customer?: string, seats?: SeatLike[], leaves?: SeatLike[], order?: Order, metadata?: string, event?: Event, count?: integer, hold?: integer|string, price?: boolean, trace?: boolean, rules?: boolean }
---@return true|nil, Denial|integer?
function Tx:judge(ask) end

--- Free blocks of `count` neighbours of the seat's category, the nearest first; at most 16.
---   singles   "never" | "ends": only blocks that leave no single seat beside them (but at ends)
---   section   true: only in the seat's section;  far: in the whole house, however long it takes
---   any       true: of any category;  leaves: seats that count as free
--- Of an area: other areas of its event with `count` free places, at most so many as the third argument says;
--- those of its category first, each time the nearest in the order of the chart. Some hundreds are looked at.
---@param seat Seat|Area
---@param options? integer|{ most?: integer, singles?: string, section?: boolean, far?: boolean, any?: boolean, leaves?: SeatLike[] }
---@return Seat[][]|Area[]
function Tx:near(seat, count, options) end

--- The free seat that a request would leave alone, without a free neighbour; with `aisles` one beside
--- an aisle or at a row's end is not meant.
---@param ask Ask
---@param aisles? boolean
---@return Seat|nil
function Tx:single(ask, aisles) end

--- Taken seats nearer than `distance`: in the chart's unit, or in seats along the row.
---@param seat Seat
---@param distance number
---@param same_row? boolean
---@return Seat[]
function Tx:within(seat, distance, same_row) end

--- JSON text that stands in an answer as it is.
---@param text string
function Tx:raw(text) end

---@return { id: string, seats: integer, rows: integer, areas: integer, categories: string[] }|nil
function Tx:chart(id) end

--- Adds a chart (docs/charts.md; usher.plan reads the forms that people write).
function Tx:chart_put(id, plan) end

---@param t { id: string, chart: string, attributes?: string, ruleset?: string, currency?: string, open?: boolean }
---@return Event
function Tx:event_put(t) end

---@param changes { attributes?: string, ruleset?: string, chart?: string, open?: boolean, currency?: string }
function Tx:event_set(event, changes) end

--- Refused while orders live.
function Tx:event_remove(event) end

--- Forgets an ended order.
function Tx:order_drop(order) end

--- Replaces a customer's id everywhere and drops the metadata of its orders.
---@return string replacement, integer orders
function Tx:forget(customer, replacement) end

--- `restored`: the version that a rollback brought back, -1 for a deploy; it and `name` are nil for
--- versions of older programs.
---@return { version: integer, time: integer, author: string, sha256: string, name: string, restored: integer }|nil
function Tx:policy_record(version) end

--- Files of a version, by name.
---@return table<string, string>|nil
function Tx:policy_files(version) end

--- The default behaviour as a bundle: its policy.lua and a module for each file of commands.
---@return table<string, string>
function Tx:policy_default() end

--- What `complete` of an argument or option of a transaction command is; NOPERM to who may not run it.
---@return nil|fun(tx: Tx, prefix: string): string[]
function Tx:completion(command, argument) end

--- Makes these files the next version; compiled first. CONFLICT when they lack an event's ruleset.
---@param files table<string, string>
---@param author? string
---@param restored? integer the version whose files these are, for a rollback
---@return integer version
function Tx:policy_put(files, author, restored) end

--- The answer of `seats`.
function Tx:seats_view(event, full) end

---@class Settings what a policy or ruleset says about an event
---@field hold_ttl integer ms, how long a hold lasts
---@field hold_max integer ms, how long it may be extended to, from the first hold
---@field wait_ttl integer ms, how long a hold from the waiting list lasts; never more than hold_max
---@field late_confirm boolean|nil an expired order may be confirmed while its seats are free, if all its events say so
---@field rules Rule[]
---@field price nil|fun(tx: Tx, ask: Ask, seat: Place): integer
---@field hooks table<string, fun(tx: Tx, order: Order)>
---@field best? { score?: Score, orphans?: boolean } how `best` chooses
---@field settings? any what the policy's own commands want to read

---@class PolicySpec what `policy { ... }` takes; a ruleset takes the same but name, commands, rulesets
---@field name? string
---@field hold_ttl? integer|string seconds, or "10m"; default 10 minutes
---@field hold_max? integer|string default 30 minutes
---@field wait_ttl? integer|string default 15 minutes; what is beyond hold_max is cut off
---@field late_confirm? boolean
---@field rules? (Rule|function)[]
---@field price? fun(tx: Tx, ask: Ask, seat: Place): integer
---@field hooks? { take?: function, confirm?: function, reseat?: function, release?: function, cancel?: function, expire?: function }
---@field best? { score?: Score, orphans?: boolean }
---@field rulesets? table<string, PolicySpec> what they leave out they have from the policy
---@field commands? table[]
---@field settings? any

---@class RuleSpec what `rule { ... }` takes
---@field name? string
---@field code? string of a refusal, "DENIED" when not given
---@field message? string SEAT stands for the seat's label
---@field hint? string
---@field exempt? string[] roles it does not concern
---@field on? string[] "take", "reseat" (both when not given), "confirm", "extend", "wait"
---@field seat? fun(tx: Tx, ask: Ask, seat: Seat, place: Place|nil): boolean
---@field check? fun(tx: Tx, ask: Ask): true|nil, Denial?

---@class ArgumentSpec `{ "seats", "seat", many = true }`: its name, its type, more about it
---@field [1] string
---@field [2] string|string[] string int bool json duration time money event seat order chart customer category node file, or a list of words to choose from
---@field many? boolean the last argument takes all that follow; an option may be given several times
---@field pairs? boolean the seats come as FROM TO FROM TO: one pair's TO may be another's FROM
---@field optional? boolean
---@field default? string|number|boolean
---@field choices? string[] the words of a one_of
---@field meta? string how the usage names it
---@field help? string
---@field complete? fun(ctx: Tx|table, prefix: string): string[] what may stand here, for Tab; gets `tx` in a policy

---@class CommandSpec what `command { ... }` takes
---@field name string hyphens become underscores in Lua
---@field aliases? string[]
---@field kind? "transaction"|"node" a bundle has transaction commands only
---@field group? string under which `help` lists it, "other" when not given
---@field access? "public"|"client"|"operator"|"admin" who may call it, "client" when not given
---@field read? "local"|"linearizable" it only looks
---@field summary? string one line for `help`
---@field example? string
---@field args? ArgumentSpec[]
---@field options? ArgumentSpec[]|table<string, table> `--name`; a list keeps its order
---@field run fun(tx: Tx, req: Request): any the answer, or an error
---@field again? fun(tx: Tx, req: Request): any the answer of a repeated request id that made no order

---@class Request the arguments and options by name, resolved: an `event` is an Event, a `seat` a Place

---@class Json integers stay integers, null is nil, empty lists stay lists, keys come sorted
---@field encode fun(value: any): string
---@field decode fun(text: string): any, string?, string? the value, or nil, message and "BADARG"
---@field list fun(t: table): table marks a table as a list, also when it is empty

---@type Json
json = {}

--- Makes the policy that policy.lua returns.
---@param spec PolicySpec
---@return table
function policy(spec) end

--- Makes a rule; a bare function is a `check`.
---@param spec RuleSpec|fun(tx: Tx, ask: Ask): true|nil, Denial?
---@return Rule
function rule(spec) end

--- Refuses what is asked for; never returns.
---@param denial Denial|string
function deny(denial) end

--- Makes a command for `commands`.
---@param spec CommandSpec
---@return table
function command(spec) end
