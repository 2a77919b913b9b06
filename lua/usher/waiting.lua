--- Waiting lists: who waits for seats of an event, and who gets those that come free.
---
--- A wait is the key "wait:EVENT:NUMBER" of the policy's data; numbers grow, so the list is in the
--- order of arrival. Whenever seats come free (and when somebody joins), `serve` runs in the
--- same transaction: the first in line who fits gets a hold on the best seats for `wait_ttl` (at
--- most `hold_max`) and leaves the list, then the next. When that hold runs out the seats are free
--- again and go to the next in line; who let it lapse has to join anew.
---
--- "waitc:EVENT:CUSTOMER" says which of these keys a customer has, so that nobody need read the line to
--- leave it. The key "waitc" says of which numbers that can be known: waits that an older version
--- let in have none, and are looked for in the line itself.
---
--- Fairness: nobody in line is served while somebody before them, of the same event, would have
--- been granted seats from the same house (seats that come free during a round, see below, aside).
--- A large party may be passed by a smaller one that fits, and no seat is kept free for it.
--- Where a rule was in the way, serving those behind may have made it possible: who was refused is asked
--- again, from the front, once the line is through, as long as somebody has been served meanwhile.
---
--- Per transaction at most 50 waits get seats, at most 200 are put before the rules, and at most
--- about a quarter of its budget is used. A longer line is gone through in rounds: the key
--- "wait::EVENT" says behind whom the round stands, the node goes on from there at once, a
--- transaction at a time, and whoever is refused keeps nobody behind from being asked. Seats that come
--- free meanwhile are offered to everybody once, from there on and around.
local shared = require "usher.shared"

local M = {}

local SERVE_MAX, TRIES_MAX, PAGE, PLACE_MAX = 50, 200, 500, 1000
-- Percent of the budget behind which nobody else is asked: so whoever is asked has half of it.
local USED_MAX = 25

local function prefix_of(event) return "wait:" .. event.id .. ":" end
local function round_key(event) return "wait::" .. event.id end
local function key_of(event, number) return ("%s%012d"):format(prefix_of(event), number) end
local function own_prefix(event_id) return "waitc:" .. event_id .. ":" end
local function own_key(event_id, customer) return own_prefix(event_id) .. customer end

-- The wait of that key, or nil.
local function read(tx, key)
    local wait = tx:get(key)
    if type(wait) == "table" and type(wait.customer) == "string"
        and math.type(wait.count) == "integer" and wait.count >= 1 then
        wait.key = key
        return wait
    end
end

--- The waits of an event in line, at most `most`, behind `after`.
---@param event Event
---@return { key: string, customer: string, count: integer, category?: string, codes?: string[], at: integer }[]
function M.list(tx, event, after, most)
    local out = {}
    for _, key in ipairs(tx:keys(prefix_of(event), after, most or 1000)) do
        out[#out + 1] = read(tx, key)
    end
    return out
end

-- The numbers whose waits are known by their customers, too: from `from`, below `to`.
local function known_numbers(tx)
    local known = tx:get "waitc"
    if type(known) == "table" and math.type(known.from) == "integer" and math.type(known.to) == "integer" then
        return known
    end
    return { from = 0, to = 0 }
end

-- One more is. Those before it are not all, if an older version has given numbers meanwhile.
local function know(tx, number)
    local known = known_numbers(tx)
    tx:set("waitc", { from = known.to == number and known.from or number, to = number + 1 })
end

-- The wait that the customer's own key names. An older version leaves that key when it ends a wait.
local function known_wait(tx, event, customer)
    local key, prefix = tx:get(own_key(event.id, customer)), prefix_of(event)
    local wait = type(key) == "string" and key:sub(1, #prefix) == prefix and read(tx, key)
    return wait and wait.customer == customer and wait or nil
end

-- Reads the line itself, behind `after` and before `stop`.
local function search(tx, event, customer, after, stop)
    repeat
        local keys = tx:keys(prefix_of(event), after, PAGE)
        for _, key in ipairs(keys) do
            if stop and key >= stop then return nil end
            local wait = read(tx, key)
            if wait and wait.customer == customer then return wait end
            after = key
        end
    until #keys < PAGE
end

local function seek(tx, event, customer)
    local wait = known_wait(tx, event, customer)
    if wait then return wait end
    local known = known_numbers(tx)
    return search(tx, event, customer, nil, key_of(event, known.from))
        or search(tx, event, customer, known.to > 0 and key_of(event, known.to - 1) or nil)
end

--- The place of a wait in line: 1 is next, 1001 is that or farther back.
---@return integer
function M.place(tx, event, wait)
    local place = 1
    for _, key in ipairs(tx:keys(prefix_of(event), nil, PLACE_MAX)) do
        if key >= wait.key then break end
        place = place + 1
    end
    return place
end

--- The customer's wait at the event and its place in line, or nil.
function M.find(tx, event, customer)
    local wait = seek(tx, event, customer)
    if not wait then return nil end
    return wait, M.place(tx, event, wait)
end

--- The key of the wait at that place in line: M.list goes on behind it. Of the last one, when the line
--- is shorter; nil for place 0.
function M.key_at(tx, event, place)
    local after
    while place > 0 do
        local keys = tx:keys(prefix_of(event), after, math.min(place, PAGE))
        if #keys == 0 then break end
        after, place = keys[#keys], place - #keys
    end
    return after
end

--- Adds a customer to the end of the line.
---@return table wait
function M.join(tx, event, customer, count, category, codes)
    local number = (tx:get "wait") or 0
    tx:set("wait", number + 1)
    know(tx, number)
    local wait = { customer = customer, count = count, category = category, codes = codes, at = tx.now }
    local key = key_of(event, number)
    tx:set(key, wait)
    tx:set(own_key(event.id, customer), key)
    wait.key = key
    return wait
end

function M.leave(tx, wait)
    local own = own_key(wait.key:match "^wait:(.*):", wait.customer)
    if tx:get(own) == wait.key then tx:set(own, nil) end
    tx:set(wait.key, nil)
end

--- Drops the list. Returns whether that was all of it: a long one takes several transactions.
---@return boolean
function M.clear(tx, event)
    if tx:get(round_key(event)) then tx:set(round_key(event), nil) end
    return shared.drop_keys(tx, prefix_of(event)) and shared.drop_keys(tx, own_prefix(event.id))
end

--- A customer who is forgotten leaves every line. Returns whether there was any.
function M.forget(tx, customer)
    local found = false
    shared.each_event(tx, function(event)
        local wait, own = seek(tx, event, customer), own_key(event.id, customer)
        if wait then M.leave(tx, wait) end
        local left = tx:get(own) -- by an older version, which ended that wait
        if left then tx:set(own, nil) end
        found = found or wait ~= nil or left ~= nil
    end)
    return found
end

-- Places for a wait, best first, and whether there are none for want of room alone.
local function choices_for(tx, event, wait)
    local settings = tx:settings(event)
    local best = settings.best or {}
    local seats, _, why = tx:best { event = event, customer = wait.customer, count = wait.count,
        category = wait.category, hold = settings.wait_ttl, score = best.score, orphans = best.orphans }
    if seats then return { seats } end
    local areas = shared.areas_for(event, wait.category, wait.count)
    -- where no single seat may be left, a larger party can fit when a smaller one does not
    return areas, #areas == 0 and why == nil and best.orphans ~= false
end

-- A held order for the wait, or nil and whether it was for want of room alone.
local function offer(tx, event, wait)
    local choices, no_room = choices_for(tx, event, wait)
    local order = shared.take_first(tx, choices, { customer = wait.customer, hold = tx:settings(event).wait_ttl,
        metadata = json.encode { waited_since = wait.at } })
    if not order then return nil, no_room end
    M.leave(tx, wait)
    tx:emit("wait", { event = event.id, order = order.id, customer = wait.customer })
    return order
end

-- What `offer` writes: so an order is known for one that was made here, until a confirm writes its own.
local MARK = '^{"waited_since":'

--- The order that the customer was served with at the event, as long as it is known: the newest one that
--- is held, else the newest.
---@return Order|nil
function M.served_with(tx, event, customer)
    for _, status in ipairs { "held", false } do
        local orders = tx:orders { customer = customer, event = event, status = status or nil }
        for i = #orders, 1, -1 do
            if (orders[i].metadata or ""):find(MARK) then return orders[i] end
        end
    end
end

-- What serving an event has come to in this transaction.
local function new_work()
    return { made = {}, served = 0, tries = 0,
        too_large = {} } -- by category: parties of that size find no room
end

-- Asks for one wait. False: the house is full, nobody need be asked any more.
-- `round.refused` is the last in line of those whom more than want of room has kept out, `round.again` who
-- that was when somebody was served last: up to there it may be otherwise now.
local function ask(tx, event, round, work, wait)
    local category = wait.category or ""
    if wait.count >= (work.too_large[category] or math.huge) then return true end
    tx:with_codes(wait.codes or {}, math.tointeger(wait.at) or 0)
    local done, order, no_room = tx:attempt(offer, tx, event, wait)
    if done and no_room then
        work.too_large[category] = wait.count
        return wait.count > 1 or category ~= ""
    end
    work.tries = work.tries + 1
    if done and order then
        work.made[wait.key], work.served = order, work.served + 1
        round.again = round.refused
    else
        if wait.key > (round.refused or "") then round.refused = wait.key end
    end
    return true
end

-- Where the round of an event begins: at the front, unless the last one has not been ended.
local function round_of(tx, event, continues)
    local round = tx:get(round_key(event))
    if type(round) ~= "table" then return {} end
    if continues then return round end
    return { after = round.after, stop = round.after } -- something came free: once around from here
end

-- Goes on with a round. Returns whether it is over; else it stands behind `round.after`. nil: everybody was
-- asked, up to `round.upto` where there is one.
local function walk(tx, event, round, work)
    while true do
        local keys = tx:keys(prefix_of(event), round.after, PAGE)
        for _, key in ipairs(keys) do
            if round.wrapped and key > round.stop or key > (round.upto or key) then return nil end
            if work.served >= SERVE_MAX or work.tries >= TRIES_MAX or tx:used() >= USED_MAX then
                return false
            end
            local wait = read(tx, key)
            if wait and not ask(tx, event, round, work, wait) then return true end
            round.after = key
        end
        if #keys < PAGE then
            if round.wrapped or not round.stop then return nil end
            round.wrapped, round.after = true, nil
        end
    end
end

-- Goes on until nobody is served any more: each time through the line but the last serves somebody.
local function go_on(tx, event, round, work)
    while true do
        local over = walk(tx, event, round, work)
        if over ~= nil then return over, round end
        if not round.again then return true end
        round = { upto = round.again, refused = round.refused }
    end
end

--- Gives free seats to those in line. Returns the orders made, by key of the wait.
---@param tx Tx
---@param event Event
---@param continues? boolean a round goes on; else seats came free, or somebody joined
---@return table<string, Order>
function M.serve(tx, event, continues)
    local round, work = round_of(tx, event, continues), new_work()
    local key = round_key(event)
    local over, left = go_on(tx, event, round, work)
    if not over then
        tx:set(key, left)
    elseif tx:get(key) ~= nil then
        tx:set(key, nil)
    end
    tx:with_codes(nil)
    return work.made
end

return M
