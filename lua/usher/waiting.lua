--- Waiting lists: who waits for seats of an event, and who gets those that come free.
---
--- A wait is the key "wait:EVENT:NUMBER" of the policy's data; numbers grow, so the list is in the
--- order of arrival. Whenever seats come free (and when somebody joins), `serve` runs in the
--- same transaction: the first in line who fits gets a hold on the best seats for `wait_ttl` and
--- leaves the list, then the next. When that hold runs out the seats are free again and go to
--- the next in line; who let it lapse has to join anew.
---
--- Fairness: nobody in line is served while somebody before them, of the same event, would have
--- been granted seats from the same house. A large party may be passed by a smaller one that
--- fits, and no seat is kept free for it. Per transaction at most SERVE_MAX waits get seats and at
--- most TRIES_MAX are tried against the rules; what is left over is served with the next seat.
local shared = require "usher.shared"

local M = {}

local SERVE_MAX, TRIES_MAX, PAGE = 50, 200, 500

local function prefix_of(event) return "wait:" .. event.id .. ":" end

--- The waits of an event in line, at most `most`, behind `after`.
---@param event Event
---@return { key: string, customer: string, count: integer, category?: string, codes?: string[], at: integer }[]
function M.list(tx, event, after, most)
    local out = {}
    for _, key in ipairs(tx:keys(prefix_of(event), after, most or 1000)) do
        local wait = tx:get(key)
        if type(wait) == "table" and type(wait.customer) == "string"
            and math.type(wait.count) == "integer" and wait.count >= 1 then
            wait.key = key
            out[#out + 1] = wait
        end
    end
    return out
end

--- The customer's wait at the event and its place in line (1 is next), or nil.
function M.find(tx, event, customer)
    local place, after = 0, nil
    repeat
        local page = M.list(tx, event, after, PAGE)
        for _, wait in ipairs(page) do
            place = place + 1
            if wait.customer == customer then return wait, place end
        end
        after = page[#page] and page[#page].key
    until #page < PAGE
end

--- Adds a customer to the end of the line.
---@return table wait
function M.join(tx, event, customer, count, category, codes)
    local number = (tx:get "wait") or 0
    tx:set("wait", number + 1)
    local wait = { customer = customer, count = count, category = category, codes = codes, at = tx.now }
    local key = ("%s%012d"):format(prefix_of(event), number)
    tx:set(key, wait)
    wait.key = key
    return wait
end

function M.leave(tx, wait) tx:set(wait.key, nil) end

--- Drops the whole list.
function M.clear(tx, event)
    repeat
        local keys = tx:keys(prefix_of(event), nil, PAGE)
        for _, key in ipairs(keys) do tx:set(key, nil) end
    until #keys < PAGE
end

--- A customer who is forgotten leaves every line. Returns whether there was any.
function M.forget(tx, customer)
    local after, found
    repeat
        local page = tx:events(after, PAGE)
        for _, event in ipairs(page) do
            local wait = M.find(tx, event, customer)
            if wait then
                M.leave(tx, wait)
                found = true
            end
        end
        after = page[#page]
    until #page < PAGE
    return found
end

-- Seats for a wait, or nil and whether it was for want of room alone.
local function seats_for(tx, event, wait)
    local settings = tx:settings(event).best or {}
    local seats, _, why = tx:best { event = event, customer = wait.customer, count = wait.count,
        category = wait.category, score = settings.score, orphans = settings.orphans }
    if seats then return seats end
    seats = shared.area_for(event, wait.category, wait.count)
    if seats then return seats end
    -- where no single seat may be left, a larger party can fit when a smaller one does not
    return nil, why == nil and settings.orphans ~= false
end

-- A held order for the wait, or nil.
local function offer(tx, event, wait)
    tx:with_codes(wait.codes or {})
    local known, seats, no_room = pcall(seats_for, tx, event, wait)
    if not known then return nil, false end -- a category that the chart has not any more
    if not seats then return nil, no_room end
    local settings = tx:settings(event)
    local given, order = pcall(tx.take, tx, { customer = wait.customer, seats = seats,
        hold = math.min(settings.wait_ttl, settings.hold_max),
        metadata = json.encode { waited_since = wait.at } })
    if not given then
        if type(order) ~= "table" then error(order, 0) end
        return nil, false
    end
    M.leave(tx, wait)
    tx:emit("wait", { event = event.id, order = order.id, customer = wait.customer })
    return order
end

--- Gives free seats to those in line. Returns the orders made, by key of the wait.
---@param tx Tx
---@param event Event
---@return table<string, Order>
function M.serve(tx, event)
    local made, served, tries, after = {}, 0, 0, nil
    local too_large = {} -- by category: parties of that size find no room
    repeat
        local page = M.list(tx, event, after, PAGE)
        for _, wait in ipairs(page) do
            local category = wait.category or ""
            if wait.count < (too_large[category] or math.huge) then
                local order, no_room = offer(tx, event, wait)
                tries = tries + 1
                if order then
                    made[wait.key], served = order, served + 1
                elseif no_room then
                    too_large[category] = wait.count
                    tries = tries - 1
                    if wait.count == 1 and category == "" and #event:areas() == 0 then page = {} end
                end
            end
            if served >= SERVE_MAX or tries >= TRIES_MAX or #page == 0 then break end
        end
        after = page[#page] and page[#page].key
    until #page < PAGE or served >= SERVE_MAX or tries >= TRIES_MAX
    tx:with_codes(nil)
    return made
end

return M
