--- Load-tests an event, from one place and one request after the other, and leaves it as it was:
---     usher run lua/scripts/load-test.lua EVENT [BOOKINGS] [PARTY]
--- It books the best seats for parties of PARTY (2) until BOOKINGS (200) are made or the house is
--- full, says how fast that went, and cancels them all again. `usher bench` presses harder.
local event, bookings, party = arg[1], tonumber(arg[2] or 200), tonumber(arg[3] or 2)
if not event or not bookings or not party then
    print("usage: usher run load-test.lua EVENT [BOOKINGS] [PARTY]")
    exit(2)
end
local found, message, code = usher.event(event)
if not found then
    print(code .. " " .. message)
    exit(1)
end

local orders, times, refused = {}, {}, nil
local begun = now()
for i = 1, math.tointeger(bookings) do
    local before = now()
    local order, why, refusal = usher.call("best", event, "load-test-" .. i, party, "--book")
    times[#times + 1] = now() - before
    if not order then
        refused = refusal .. " " .. why
        break
    end
    orders[#orders + 1] = order.order
end
local ms = math.max(1, now() - begun)

local left = 0
for _, order in ipairs(orders) do
    if not usher.cancel { order } then left = left + 1 end
end

table.sort(times)
local function percent(p) return times[math.max(1, math.ceil(#times * p / 100))] or 0 end
show({ bookings = #orders, seats = math.tointeger(#orders * party), per_second = #orders * 1000 // ms,
    p50_ms = percent(50), p99_ms = percent(99), most_ms = percent(100), ended_by = refused })
if left > 0 then
    print(("%d orders could not be cancelled: see `orders --event %s`"):format(left, event))
    exit(1)
end
