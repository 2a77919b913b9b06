--- Moves a whole party to other seats of its event, together:
---     usher run lua/scripts/move-party.lua ORDER ROW         side by side in a row, where they fit best
---     usher run lua/scripts/move-party.lua ORDER SEAT...     to these very seats, in this order
--- All of them move or none; the policy's rules judge the new seats as they would a new booking.
local id = arg[1]
if not id or #arg < 2 then
    print("usage: usher run move-party.lua ORDER ROW | SEAT...")
    exit(2)
end

local function stop(code, message)
    print(("%s %s"):format(code, message))
    exit(1)
end

local order, message, code = usher.order(id)
if not order then stop(code, message) end
local event = order.seats[1] and order.seats[1].event
for _, seat in ipairs(order.seats) do
    if seat.event ~= event then stop("BADARG", "the order is of several events; move its seats with `move`") end
    if not seat.seat then stop("BADARG", "the order has places without numbers; move them with `move`") end
end

--- The free runs of a row that hold the party (its own seats count as free), the middle one first.
local function places_in(row)
    local map = assert(usher.seats { event, full = true, linearizable = true })
    local own = {}
    for _, seat in ipairs(order.seats) do own[seat.seat] = true end
    for _, candidate in ipairs(map.rows) do
        if candidate.row == row then
            local runs, run = {}, {}
            local seats = candidate.seats
            for i, seat in ipairs(seats) do
                if seat.status == "free" or own[seat.seat] then run[#run + 1] = i else run = {} end
                if #run >= #order.seats then
                    local first = run[#run - #order.seats + 1]
                    runs[#runs + 1] = { first = first, off = math.abs(first + #order.seats / 2 - 0.5 - #seats / 2) }
                end
                if seat.aisle_after then run = {} end
            end
            table.sort(runs, function(a, b) return a.off < b.off end)
            local list = {}
            for n, found in ipairs(runs) do
                list[n] = {}
                for k = 1, #order.seats do list[n][k] = seats[found.first + k - 1].seat end
            end
            return list
        end
    end
    return nil
end

--- move takes FROM TO pairs; a seat of one's own may be somebody's new one.
local function move(seats)
    local words = { "move", id }
    for i, seat in ipairs(order.seats) do
        if seat.seat ~= seats[i] then
            words[#words + 1] = seat.seat
            words[#words + 1] = seats[i]
        end
    end
    if #words == 2 then return order end
    return usher.call(table.unpack(words))
end

local tries
local in_row = #arg == 2 and places_in(arg[2])
if in_row then
    tries = in_row
    if #tries == 0 then stop("TAKEN", ("row %s has no %d free seats side by side"):format(arg[2], #order.seats)) end
else
    if #arg - 1 ~= #order.seats then
        stop("BADARG", ("the party has %d seats, %d were given"):format(#order.seats, #arg - 1))
    end
    tries = { table.move(arg, 2, #arg, 1, {}) }
end

local why, refusal
for _, seats in ipairs(tries) do
    local moved
    moved, why, refusal = move(seats)
    if moved then
        print(("order %s has %s now"):format(id, table.concat(seats, " ")))
        exit(0)
    end
    if refusal ~= "TAKEN" and refusal ~= "DENIED" and refusal ~= "LIMIT" then break end
end
stop(refusal, why)
