--- A house to test a policy in: charts, events and orders from short text, commands, refusals,
--- time. Everything is decided by the real VM over the real store (src/policy/test_vm.h).
local core = require "usher.test.core"
local plan = require "usher.test.plan"
local words = require "usher.test.words"

local json = core.json
local M = { json = json }

---@class House
---@field now integer ms since 1970; `pass` moves it
---@field policy_version integer
local House = {}
House.__index = House

-- ---- Virtual machines: one for each bundle, kept, as a node keeps its own ----------------

local machines = {}

---@return userdata|nil vm
---@return string|nil message
local function machine(bundle, version)
    local key = (bundle or "") .. "\0" .. version
    if not machines[key] then
        local vm = core.vm()
        local ok, message = vm:load(bundle, version)
        if not ok then return nil, message end
        machines[key] = vm
    end
    return machines[key]
end

local function exists(path)
    local file = io.open(path, "r")
    if file then file:close() end
    return file ~= nil
end

--- The bundle that `policy` names: Lua text, or a path (beside the spec, else from here).
local function bundle_of(policy)
    local _, spec = words.caller()
    local folder = spec and spec:match("^(.*)/[^/]*$") or "."
    if policy == nil then
        if not exists(folder .. "/policy.lua") then return nil end
        policy = "policy.lua"
    end
    if policy:find("\n") or policy:find("return", 1, true) then return core.bundle_of(policy) end
    local path = policy
    if policy:sub(1, 1) ~= "/" and exists(folder .. "/" .. policy) then path = folder .. "/" .. policy end
    local bundle, message, hint = core.bundle(path)
    if not bundle then error(message .. (hint ~= "" and "; " .. hint or ""), 0) end
    return bundle
end

-- ---- Setting up ----------------------------------------------------------------------------

local ADMIN = { name = "test", access = "admin" }

local function must(self, vm, ...)
    local ok, code, message = self.store:run(vm, { ... }, self.now, ADMIN)
    if not ok then
        words.fail(("test.house: %s: %s %s"):format(table.concat({ ... }, " "), code, message))
    end
end

local function sorted(t)
    local keys = {}
    for key in pairs(t) do keys[#keys + 1] = key end
    table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
    return keys
end

local function add_charts(self, options)
    local text, taken, blocked = plan.chart(options.rows, options.areas, json)
    if options.rows or options.areas then must(self, self.vm, "add-chart", "house", text) end
    for _, id in ipairs(sorted(options.charts or {})) do
        local chart = options.charts[id]
        local of_rows = type(chart) == "table" and type(chart[1]) == "string"
        must(self, self.vm, "add-chart", id, of_rows and plan.chart(chart, nil, json) or
            type(chart) == "string" and chart or json.encode(chart))
    end
    return taken, blocked
end

local function add_event(self, id, event, options)
    local chart = event.chart or (options.rows or options.areas) and "house" or sorted(options.charts)[1]
    local line = { "add-event", id, chart }
    local function add(name, value)
        if value == nil then return end
        line[#line + 1] = "--" .. name
        line[#line + 1] = type(value) == "table" and json.encode(value) or value
    end
    add("attributes", event.attributes)
    add("rules", event.rules)
    add("currency", event.currency)
    must(self, self.vm, table.unpack(line))
    if event.closed then must(self, self.vm, "close-event", id) end
    self.order_of_events[#self.order_of_events + 1] = id
    return chart
end

local function add_events(self, options, taken, blocked)
    local list = {}
    for key, value in pairs(options.events or { "1" }) do
        if type(key) == "string" then
            list[#list + 1] = { id = key, event = value }
        else
            list[#list + 1] = { id = tostring(value), event = {} }
        end
    end
    table.sort(list, function(a, b) return a.id < b.id end)
    local free = machine(nil, 0) -- what is there already was not judged by this policy
    for _, one in ipairs(list) do
        if add_event(self, one.id, one.event, options) == "house" then
            for _, run in ipairs(taken) do must(self, free, "book", one.id, "taken", table.unpack(run)) end
            if #blocked > 0 then must(self, self.vm, "block", one.id, table.unpack(blocked)) end
        end
    end
    for _, line in ipairs(options.orders or {}) do
        local ok, code, message = self:raw(line, nil, free)
        if not ok then words.fail(("test.house: orders: %s: %s %s"):format(line, code, message)) end
    end
end

local USER = { name = true, access = true, roles = true }
local ACCESS = { public = true, client = true, operator = true, admin = true }

-- What is wrong with a user as specs write one, or nil: a slip would be somebody else in silence.
local function wrong_user(user)
    if type(user) ~= "table" then return "a user is { access =, roles = { ... }, name = }" end
    for key in pairs(user) do
        if not USER[key] then
            return ("a user has no '%s': it is { access =, roles = { ... }, name = }"):format(tostring(key))
        end
    end
    if user.access ~= nil and not ACCESS[user.access] then
        return ("there is no access level '%s'; there are public, client, operator, admin"):format(
            tostring(user.access))
    end
    local roles = user.roles or {}
    if type(roles) ~= "table" or next(roles) ~= nil and #roles == 0 then return "a user's roles are a list of names" end
end

-- The user that an option names, or nil; fails at the spec's line when it is none.
local function user_of(options)
    local user = options and options.user
    local wrong = user ~= nil and wrong_user(user)
    if wrong then words.fail(wrong) end
    return user
end

local OPTIONS = { policy = true, kv = true, rows = true, areas = true, charts = true, events = true,
    orders = true, now = true, seed = true, user = true }

--- Fills a fresh store as the options say. The property runner starts its houses so.
function M.fill(self)
    local options = self.options
    self.store = core.store()
    self.vm:seed(options.seed or 1)
    self.now = self.start
    self.named, self.newest, self.lost = {}, {}, {} -- orders by name and by customer; why a name has none
    self.layouts, self.order_of_events = {}, {}
    if self.bundle then
        self.store:record(self.bundle, self.policy_version, self.now, "test", ("0"):rep(64))
    end
    local taken, blocked = add_charts(self, options)
    add_events(self, options, taken, blocked)
    for _, key in ipairs(sorted(options.kv or {})) do
        must(self, self.vm, "set", key, json.encode(options.kv[key]))
    end
    return self
end

local function time_of(value)
    if type(value) == "number" then return value end
    local y, mo, d, h, mi, s = value:match("^(%d%d%d%d)-(%d%d)-(%d%d)[ T]?(%d*):?(%d*):?(%d*)Z?$")
    if not y then error(("%q is no time such as 2026-05-01 10:00"):format(value), 0) end
    local function n(text) return math.tointeger(tonumber(text)) or 0 end
    -- days from civil
    y, mo, d = n(y), n(mo), n(d)
    local shifted = mo > 2 and y or y - 1
    local era = shifted // 400
    local yoe = shifted - era * 400
    local doy = (153 * (mo + (mo > 2 and -3 or 9)) + 2) // 5 + d - 1
    local days = era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468
    return ((days * 24 + n(h)) * 60 + n(mi)) * 60000 + n(s) * 1000
end

--- Makes a house.
---
---   policy   a path (beside the spec file first) of a file or folder, or Lua text; default: the
---            policy.lua beside the spec, else the default policy
---   rows     text pictures, see usher.test.plan; they make the chart of event "1"
---   areas    { FLOOR = 100 }           places without numbers
---   charts   { ID = rows or a plan }   further charts (docs/charts.md)
---   events   { "1", "2" } or { ["1"] = { chart=, rules=, attributes=, currency=, closed= } }
---   orders   command lines that come before the policy: nothing judges them
---   kv       { key = value }           the policy's own data
---   now      "2026-01-01 00:00" (UTC) or ms; seed  of ids and tx:random; user  see House:as
---@param options table
---@return House
function M.new(options)
    local self = setmetatable({}, House)
    local ok, message = pcall(function()
        if type(options) ~= "table" then error("test.house takes a table", 0) end
        for key in pairs(options) do
            if not OPTIONS[key] then error(("test.house: unknown option '%s'"):format(tostring(key)), 0) end
        end
        if not (options.rows or options.areas or options.charts) then
            error("test.house: rows, areas or charts are needed, or there is nothing to sell", 0)
        end
        self.options = options
        self.start = time_of(options.now or "2026-01-01")
        local wrong = options.user ~= nil and wrong_user(options.user)
        if wrong then error(wrong, 0) end
        self.user = options.user or ADMIN
        self.bundle = bundle_of(options.policy)
        self.policy_version = self.bundle and 1 or 0
        local why
        self.vm, why = machine(self.bundle, self.policy_version)
        if not self.vm then error("the policy does not load: " .. why, 0) end
    end)
    if not ok then words.fail(message) end
    return M.fill(self)
end

-- ---- Commands -------------------------------------------------------------------------------

--- `$name` becomes the order that `name = ...` in House:play or the customer `name` got last.
local function expand(self, word)
    local name = word:match("^%$(.+)$")
    if not name then return word end
    return self.named[name] or self.newest[name] or word
end

--- Runs one command; what the store's binding returns: true, json, ids, or false, code, ...
function House:raw(line, user, vm)
    local list = type(line) == "table" and line or words.split(line)
    for i, word in ipairs(list) do list[i] = expand(self, word) end
    local ok, a, b, c, d = self.store:run(vm or self.vm, list, self.now, user or self.user)
    if ok and b ~= "" then
        self.last = b
        local verb = list[1]
        if verb == "hold" or verb == "book" or verb == "best" then self.newest[list[3]] = b end
    end
    return ok, a, b, c, d
end

--- The order that a command made, by the ids of those it answered with: a split made its second.
---@param verb string
---@param one string|nil
---@param two string|nil
---@return string|nil id
function M.made_by(verb, one, two)
    local id = verb == "split" and two or one
    return id ~= "" and id or nil
end

--- Whether a refusal says that there is no such command: a slip in a script, not an answer.
function M.is_unknown(code, message) return code == "NOTFOUND" and message:find("^unknown command") ~= nil end

local function refusal_of(code, message, hint, fields)
    local out = fields ~= "" and json.decode("{" .. fields .. "}") or {}
    out.code, out.message, out.hint = code, message, hint ~= "" and hint or nil
    return out
end

--- Runs one command.
---@param line string|string[]
---@param options? { user: table } who asks, as House:as takes it, but an admin unless `access` says else
---@return table|nil answer
---@return table|nil refusal { code, message, hint, rule, seat, ... }
function House:run(line, options)
    local list = type(line) == "table" and line or words.split(line)
    local ok, a, b, c, d = self:raw(list, user_of(options))
    if ok then return (json.decode(a)) end
    local refusal = refusal_of(a, b, c, d)
    for _, word in ipairs(list) do
        local lost = self.lost[word:match("^%$(.+)$") or ""]
        if lost then refusal.hint = lost end
    end
    return nil, refusal
end

--- A command without effect: its answer or refusal, either with `rules`.
local function dry(self, line, options)
    local list = type(line) == "table" and { table.unpack(line) } or words.split(line)
    list[#list + 1] = "--dry-run"
    local ok, a, b, c, d = self:raw(list, user_of(options))
    if ok then return (json.decode(a)) end
    return nil, refusal_of(a, b, c, d)
end

--- What each rule says to a command, which has no effect: { {rule, event, ok, code, message,
--- exempt: the role of the user that the rule does not concern} }.
function House:says(line, options)
    local answer, refusal = dry(self, line, options)
    return (answer or refusal).rules or {}
end

--- The labels among a command's words, for the picture.
local function asked_of(self, line)
    local asked, list = {}, type(line) == "table" and line or words.split(line)
    local event = self:event(list[2]) or self:event()
    for _, word in ipairs(list) do
        local from, to = word:match("^([^%.=]+)%.%.([^%.=]+)$")
        if from and event.by_label[from] and event.by_label[to] then
            local a, b = event.by_label[from], event.by_label[to]
            if a.row == b.row then
                for i = math.min(a.position, b.position), math.max(a.position, b.position) do
                    asked[a.row[i].label] = true
                end
            end
        else
            asked[(word:gsub("^[^:]*:", ""):gsub("=.*$", ""))] = true
        end
    end
    return asked, event
end

local function rules_text(said)
    local lines = {}
    for _, one in ipairs(said or {}) do
        lines[#lines + 1] = ("  %-4s %s%s"):format(one.ok and "ok" or "no", one.rule,
            one.message and ": " .. one.message or one.exempt and (": exempt (%s)"):format(one.exempt) or "")
    end
    return #lines > 0 and "\nrules:\n" .. table.concat(lines, "\n") or ""
end

local function refusal_text(refusal)
    local out = refusal.code .. " " .. refusal.message
    if refusal.hint then out = out .. "; " .. refusal.hint end
    return out .. (refusal.seat and "; seat " .. tostring(refusal.seat) or "")
end

--- What a failed expectation shows: command, verdict, what each rule says, the house.
local function story(self, line, verdict, said)
    local asked, event = asked_of(self, line)
    local text = type(line) == "table" and table.concat(line, " ") or line
    return ("%s\n%s%s\nhouse %s:\n%s"):format(text, verdict, rules_text(said),
        event.id, plan.picture(event, asked))
end

-- ---- Expectations ---------------------------------------------------------------------------

local show

local function labels_of(seats)
    if type(seats) == "string" then return words.split(seats) end
    local out = {}
    for i, seat in ipairs(seats) do
        out[i] = type(seat) == "table" and (seat.seat or seat.area) or tostring(seat)
    end
    return out
end

local function same_labels(want, got)
    local a, b = labels_of(want), labels_of(got or {})
    table.sort(a)
    table.sort(b)
    return table.concat(a, " ") == table.concat(b, " ")
end

local function matches(want, got)
    if type(want) ~= "table" or type(got) ~= "table" then return want == got end
    for key, value in pairs(want) do
        if not matches(value, got[key]) then return false end
    end
    return true
end

function show(value) return type(value) == "string" and ("%q"):format(value) or json.encode(value) end

local TEXTS = { message = true, hint = true }

--- The first member of `want` that `got` does not have; nil when all agree.
local function difference(want, got)
    for _, key in ipairs(sorted(want)) do
        local value, is = want[key], got[key]
        local ok
        if key == "user" then
            ok = true
        elseif key == "seats" or key == "alternative" then
            ok = is ~= nil and same_labels(value, is)
        elseif TEXTS[key] then
            ok = type(is) == "string" and is:find(value, 1, true) ~= nil
        else
            ok = matches(value, is)
        end
        if not ok then
            local shown = is
            if key == "seats" and is then shown = table.concat(labels_of(is), " ") end
            return ("%s is %s, not %s"):format(key, shown == nil and "absent" or show(shown), show(value))
        end
    end
end

local function options_of(want)
    if type(want) == "string" then return { rule = want } end
    return want or {}
end

--- The command must be granted, with an answer that has the members of `want` (`seats` as
--- "A1 A2" or a list); `want.user` says who asks.
---@param line string
---@param want? table
---@return table answer
function House:grants(line, want)
    want = options_of(want)
    local answer, refusal = self:run(line, want)
    if not answer then
        words.fail(story(self, line, "was refused: " .. refusal_text(refusal), self:says(line, want)))
    end
    local wrong = difference(want, answer)
    if wrong then words.fail(story(self, line, "was granted, but " .. wrong)) end
    return answer
end

--- The command must be refused; `want` may name code, rule, seat, alternative and parts of
--- message and hint. A mistake in the policy (INTERNAL) is no refusal unless asked for. It is
--- asked as a dry run: should it be granted, the house stays as it is.
---@param line string
---@param want? table|string a rule's name
---@return table refusal
function House:refuses(line, want)
    want = options_of(want)
    local answer, refusal = dry(self, line, want)
    if answer then
        local seats = type(answer) == "table" and answer.seats and
            " " .. table.concat(labels_of(answer.seats), " ") or ""
        words.fail(story(self, line, "would be granted" .. seats .. ", though it should be refused",
            answer.rules))
    end
    local wrong = difference(want, refusal)
    if not wrong and refusal.code == "INTERNAL" and want.code ~= "INTERNAL" then
        wrong = "that is a mistake in the policy"
    end
    if wrong then
        words.fail(story(self, line, ("was refused, but %s: %s"):format(wrong, refusal_text(refusal)),
            refusal.rules))
    end
    return refusal
end

-- ---- Time -----------------------------------------------------------------------------------

--- Lets time go by: holds whose time comes expire at the end of it.
---@param duration string|integer "16m", or seconds
---@return integer expired
function House:pass(duration)
    local ms = core.duration(tostring(duration))
    if not ms then words.fail(("%s is no duration such as 16m"):format(tostring(duration))) end
    self.now = self.now + ms
    return self.store:expire(self.vm, self.now)
end

--- Lets time go by until then.
---@param time string|integer
function House:at(time)
    local ok, ms = pcall(time_of, time)
    if not ok then words.fail(ms) end
    if ms < self.now then words.fail("time does not go back: it is after " .. tostring(time)) end
    self.now = ms
    return self.store:expire(self.vm, self.now)
end

--- Plays lines as the property runner prints them: commands, `name = command` (of a split: the new
--- order), `pass 5m`, and `as client box-office`, who asks from there on. Refusals are fine.
---@param script string
---@return House
function House:play(script)
    local user
    for line in script:gmatch("[^\n]+") do
        line = line:match("^%s*(.-)%s*$")
        local name, command = line:match("^([%w_]+) = (.+)$")
        local duration, access, roles = line:match("^pass (%S+)$"), line:match("^as (%S+)(.*)$")
        if duration then
            self:pass(duration)
        elseif access then
            user = { name = "test", access = access, roles = words.split(roles) }
        elseif line ~= "" and line:sub(1, 2) ~= "--" then
            local asked = words.split(command or line)
            local ok, code, order, other = self:raw({ table.unpack(asked) }, user)
            if not ok and M.is_unknown(code, order) then words.fail(line .. ": " .. order) end
            if name then
                self.named[name] = ok and M.made_by(asked[1], order, other) or nil
                self.lost[name] = not ok and ("%s was refused: %s %s"):format(line, code, order) or nil
            end
        end
    end
    return self
end

-- ---- Looking ----------------------------------------------------------------------------------

local Seat = {}
function Seat.__index(seat, key)
    if key == "status" then return seat.house.store:status(seat.event.number, seat.number) end
    if key == "order" then return (seat.house.store:owner(seat.event.number, seat.number)) end
    if key == "customer" then
        local _, customer = seat.house.store:owner(seat.event.number, seat.number)
        return customer
    end
    return Seat[key]
end
Seat.__tostring = function(seat) return seat.label end

--- The neighbour at `step`, nil at the row's end and, unless `across`, at an aisle.
function Seat.next(seat, step, across)
    local other = seat.row[seat.position + step]
    if other and not across and (step > 0 and seat or other).aisle_after then return nil end
    return other
end

local Area = {}
Area.__index = Area
function Area.use(area) return area.house.store:area(area.event.number, area.number) end

--- An event as the tests see it: { id, number, rows, seats, areas, by_label }; seats have
--- label, row, position, category, accessible, ..., and live `status`, `order`, `customer`.
---@param id? string default: the first event
function House:event(id)
    id = id or self.order_of_events[1]
    if self.layouts[id] then return self.layouts[id] end
    local event = self.store:plan(id)
    if not event then return nil end
    event.id, event.seats, event.by_label = id, {}, {}
    for _, row in ipairs(event.rows) do
        for _, seat in ipairs(row) do
            seat.row, seat.event, seat.house = row, event, self
            event.seats[#event.seats + 1] = setmetatable(seat, Seat)
            event.by_label[seat.label] = seat
        end
    end
    for _, area in ipairs(event.areas) do
        area.house, area.event = self, event
        event.by_label[area.label] = setmetatable(area, Area)
    end
    self.layouts[id] = event
    return event
end

local function event_of(self, id)
    local event = self:event(id)
    if not event then words.fail(("there is no event '%s'"):format(tostring(id))) end
    return event
end

function House:rows(event) return event_of(self, event).rows end
function House:seats(event) return event_of(self, event).seats end
function House:seat(label, event)
    local seat = event_of(self, event).by_label[label]
    if not seat then words.fail(("there is no seat '%s'"):format(label)) end
    return seat
end

--- "free", "held", "booked" or "blocked".
function House:status(label, event) return self:seat(label, event).status end

--- How many seats have a status.
function House:count(status, event)
    local n = 0
    for _, seat in ipairs(self:seats(event)) do
        if seat.status == status then n = n + 1 end
    end
    return n
end

--- The live orders on an event's seats: { {order=, customer=, seats={seat, ...}}, ... }.
function House:parties(event)
    local list, by_order = {}, {}
    for _, seat in ipairs(self:seats(event)) do
        local order, customer = self.store:owner(seat.event.number, seat.number)
        if order then
            local party = by_order[order]
            if not party then
                party = { order = order, customer = customer, seats = {} }
                by_order[order] = party
                list[#list + 1] = party
            end
            party.seats[#party.seats + 1] = seat
        end
    end
    return list
end

--- An order by its id, its name in House:play, or its customer (then the newest one).
---@return table|nil order
function House:order(who)
    local id = self.named[who]
    if not id then
        local list = self:run { "orders", "--customer", who } or {}
        id = list[1] and list[#list].order or who
    end
    return (self:run { "order", id })
end

--- Orders: { customer=, event=, status= }.
function House:orders(filter)
    local line = { "orders" }
    for _, key in ipairs { "customer", "event", "status" } do
        if filter and filter[key] then
            line[#line + 1] = "--" .. key
            line[#line + 1] = filter[key]
        end
    end
    return assert(self:run(line))
end

--- What the last command emitted (tx:emit): { {name=, data=}, ... }.
function House:emitted()
    local out = {}
    for i, one in ipairs(self.store:emits()) do
        out[i] = { name = one.name, data = (json.decode(one.json)) }
    end
    return out
end

--- The policy's own data.
function House:get(key)
    local answer = self:run { "get", key }
    return answer and answer.value
end

--- The house as text.
function House:picture(event) return plan.picture(event_of(self, event)) end

--- The same house, asked by somebody else: house:as{ access = "client", roles = {"box"} }.
---@param user { name?: string, access?: string, roles?: string[] }
---@return House
function House:as(user)
    local wrong = wrong_user(user)
    if wrong then words.fail(wrong) end
    local who = { name = user.name or "test", access = user.access or "client", roles = user.roles }
    return setmetatable({ user = who }, { __index = function(_, key) return self[key] end,
        __newindex = function(_, key, value) self[key] = value end })
end

--- Deploys another policy in this house: the orders stay.
---@param policy string
function House:deploy(policy)
    local version = self.policy_version + 1
    local bundle = bundle_of(policy)
    local vm, why = machine(bundle, version)
    if not vm then words.fail("the policy does not load: " .. why) end
    self.vm, self.bundle, self.policy_version = vm, bundle, version
    assert(self.store:record(bundle, version, self.now, "test", ("0"):rep(64)))
    return version
end

return M
