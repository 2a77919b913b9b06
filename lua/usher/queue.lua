--- An on-sale queue: who wants to buy joins, a draw decides at the opening, then so many in each
--- minute are let in, each for a while.
---
---     local queue = require("usher.queue").new { opens = "-30d", rate = 200 }
---     return policy { rules = { queue.rule, ... }, commands = queue.commands }
---
--- `join EVENT CUSTOMER` takes a place in line. Those who join before the opening draw a secret
--- number, and at the opening the numbers are the order: being early is worth nothing. Those who join
--- later stand behind them, in order of arrival. `place EVENT CUSTOMER` tells how many are ahead;
--- clients ask it every few seconds, and that is what moves the line. The rule refuses whoever has
--- not been let in, or whose time is over (then: join again, at the end). So it does with who would wait for
--- seats (`wait`), or the waiting list were a way past the queue; roles of whoever asks exempt nobody there.
--- Who was let in when it began to wait is offered seats when they come free, however much later.
---
--- In each minute at most `rate` people are let in, however long nobody came before; minutes follow one
--- another from the first one on, so that the end of one and the beginning of the next may bring twice as
--- many within seconds. An event that is removed takes its queue along, and who is forgotten leaves it.
local common = require "usher.rules.common"
local policy = require "usher.policy"
local shared = require "usher.shared"

local M = {}

local AHEAD_MAX, STEP, MINUTE_MS = 1000, 100, 60000

local function all(event) return ("queue:%s:"):format(event.id) end
local function person(event, customer) return all(event) .. "c:" .. customer end
local function line(event) return all(event) .. "l:" end
local function state(event) return ("queue:%s"):format(event.id) end -- the minute that is running

local function command_of(name, summary, run)
    return command { name = name, group = "orders", kind = "transaction", access = "client",
        summary = summary, example = name .. " 1 ann",
        args = { { "event", "event" }, { "customer", "customer" } }, run = run }
end

-- The minute that is running, and how many more may come in within it. Minutes follow one another
-- from the first one on, not from the opening: that moves when the event's start does.
local function minute_of(tx, event, spec)
    local minute = tx:get(state(event))
    if not (minute and minute.since) then return { since = tx.now, left = spec.rate } end
    local over = tx.now - minute.since
    if over < MINUTE_MS then return minute end
    return { since = tx.now - over % MINUTE_MS, left = spec.rate }
end

-- Lets in who is due: at most `rate` in each minute.
local function advance(tx, event, spec)
    if tx.now < spec.opens(event) then return end
    local now = minute_of(tx, event, spec)
    local keys = tx:keys(line(event), nil, math.min(now.left, STEP))
    for _, key in ipairs(keys) do
        local who = tx:get(key)
        tx:set(key, nil)
        tx:set(person(event, who), { until_ms = tx.now + spec.window })
        tx:emit("admitted", { event = event.id, customer = who })
    end
    if #keys > 0 then
        now.left = now.left - #keys
        tx:set(state(event), now)
    end
end

-- What a customer is told.
local function shown(tx, event, customer, spec)
    local me = tx:get(person(event, customer))
    local out = { event = event.id, customer = customer }
    if not me then
        out.status = "absent"
    elseif me.until_ms then
        out.status, out.until_ms = me.until_ms > tx.now and "admitted" or "over", me.until_ms
    elseif tx.now < spec.opens(event) then
        out.status, out.opens = "joined", spec.opens(event)
    else
        out.status, out.ahead = "waiting", 0
        for _, key in ipairs(tx:keys(line(event), nil, AHEAD_MAX)) do
            if key == me.key then break end
            out.ahead = out.ahead + 1
        end
    end
    return out
end

local function join(tx, req, spec)
    advance(tx, req.event, spec)
    local me = tx:get(person(req.event, req.customer))
    if not me or (me.until_ms and me.until_ms <= tx.now) then
        local early = tx.now < spec.opens(req.event)
        local key
        repeat -- the draw: nobody can choose or learn the number
            key = line(req.event) .. (early and ("0:%015d"):format(tx:random(0, 999999999999999))
                or ("1:%015d:%06d"):format(tx.now, tx:random(0, 999999)))
        until not tx:get(key)
        tx:set(key, req.customer)
        tx:set(person(req.event, req.customer), { key = key })
        advance(tx, req.event, spec)
    end
    return shown(tx, req.event, req.customer, spec)
end

--- Drops the queue of an event. Returns whether that was all of it: a long one takes several
--- transactions.
---@return boolean
function M.clear(tx, event)
    if tx:get(state(event)) then tx:set(state(event), nil) end
    return shared.drop_keys(tx, all(event))
end

--- A customer who is forgotten leaves every queue. Returns whether there was any.
---@return boolean
function M.forget(tx, customer)
    local found = false
    shared.each_event(tx, function(event)
        local me = tx:get(person(event, customer))
        if not me then return end
        if me.key then tx:set(me.key, nil) end
        tx:set(person(event, customer), nil)
        found = true
    end)
    return found
end

--- Makes a queue.
---   opens   when the line begins to move: a time, or "-30d" before the event's `start`
---   rate    people in each minute
---   window  how long somebody may buy once let in ("15m")
---@param spec { opens: integer|string, rate: integer, window?: integer|string, exempt?: string[] }
---@return { rule: Rule, commands: table[] }
function M.new(spec)
    local given = common.read("queue", spec, { opens = "moment", rate = "count", window = "duration" })
    if not (given.opens and given.rate) then common.misuse(2, "queue: opens and rate are needed") end
    given.window = given.window or 900000
    return {
        rule = policy.rule {
            name = "queue", exempt = given.exempt, on = { "take", "reseat", "wait" },
            check = function(tx, ask)
                local me = tx:get(person(ask.event, ask.customer))
                if me and me.until_ms and me.until_ms > (ask.waiting or tx.now) then return true end
                if not me then
                    return nil, { message = "buyers queue for this event",
                        hint = ("join %s %s"):format(ask.event.id, ask.customer) }
                end
                return nil, me.until_ms
                    and { message = "the time for buying is over", hint = "join again" }
                    or { message = "it is not your turn yet",
                        hint = ("place %s %s"):format(ask.event.id, ask.customer) }
            end,
        },
        commands = {
            command_of("join", "Queue for an event's sale", function(tx, req) return join(tx, req, given) end),
            command_of("place", "Tell a customer's place in the queue", function(tx, req)
                advance(tx, req.event, given)
                return shown(tx, req.event, req.customer, given)
            end),
        },
    }
end

return M
