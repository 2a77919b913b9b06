--- What random customers do (usher.test.customers): each function makes one command as a list of
--- words, or nil when it cannot be done now. They pick from what anybody sees, the seats, and from the
--- orders that they have made.
local M = {}

-- ---- Places -----------------------------------------------------------------------------

-- A free seat of the event when one is found in a few tries: mostly people ask for what they see free.
local function start_of(crowd, event)
    local random, seats = crowd.random, event.seats
    local seat
    for _ = 1, 6 do
        seat = random:pick(seats)
        if seat.status == "free" then return seat end
    end
    return seat
end

local function neighbours(seat, count)
    local out, at = {}, seat
    while at and #out < count do
        out[#out + 1] = at
        at = at.row[at.position + 1]
    end
    at = seat.row[seat.position - 1]
    while at and #out < count do
        table.insert(out, 1, at)
        at = at.row[at.position - 1]
    end
    return out
end

-- A seat or area as a word; the event stands before it where there are several.
local function named(crowd, event, label) return #crowd.events > 1 and event .. ":" .. label or label end

local function with_type(crowd, word)
    if crowd.types and crowd.random:chance(50) then return word .. "=" .. crowd.random:pick(crowd.types) end
    return word
end

-- Mostly seats side by side, sometimes a few anywhere, sometimes places of an area.
local function add_places(crowd, line, event)
    local random = crowd.random
    local count = random:int(1, crowd.party)
    if #event.areas > 0 and (#event.seats == 0 or random:chance(30)) then
        line[#line + 1] = with_type(crowd,
            ("%s*%d"):format(named(crowd, event.id, random:pick(event.areas).label), count))
        return
    end
    local taken = {}
    if random:chance(12) then
        for _ = 1, count do taken[start_of(crowd, event)] = true end
    else
        for _, seat in ipairs(neighbours(start_of(crowd, event), count)) do
            if seat.status == "free" or random:chance(10) then taken[seat] = true end
        end
    end
    for _, seat in ipairs(event.seats) do
        if taken[seat] then line[#line + 1] = with_type(crowd, named(crowd, event.id, seat.label)) end
    end
end

local function add_code(crowd, line)
    if not crowd.codes or not crowd.random:chance(50) then return line end
    line[#line + 1] = "--code"
    line[#line + 1] = crowd.random:pick(crowd.codes)
    return line
end

-- One of the events other than this, or nil.
local function other_event(crowd, event)
    if #crowd.events < 2 then return nil end
    local other
    repeat other = crowd.random:pick(crowd.events) until other ~= event
    return other
end

-- A taken seat of an order that the customers know, or nil.
local function known_seat(crowd, event)
    for _ = 1, #event.seats > 0 and 8 or 0 do
        local seat = crowd.random:pick(event.seats)
        if seat.order and crowd.ref_of[seat.order] then return seat end
    end
end

-- Is the place of an order one of an area?
local function in_area(crowd, place)
    return crowd.house:event(place.event).by_label[place.seat].capacity ~= nil
end

-- A place of an order as a word; `count` of it when it is one of an area.
local function word_of(crowd, place, count, kind)
    local word = named(crowd, place.event, place.seat)
    if in_area(crowd, place) then word = ("%s*%d"):format(word, count) end
    return kind and word .. "=" .. kind or word
end

-- An order that was made before and its places; nothing when it is over or there is none.
local function some_order(crowd)
    local ref = crowd:order()
    local order = ref and crowd.house:order(ref:sub(2))
    if not order or #order.seats == 0 then return nil end
    return ref, order.seats
end

-- A place of some order: its order, itself, and how many of it are meant.
local function some_place(crowd)
    local ref, places = some_order(crowd)
    if not ref then return nil end
    local place = crowd.random:pick(places)
    return ref, place, crowd.random:int(1, place.count or 1)
end

-- ---- Taking -----------------------------------------------------------------------------

local function take(verb)
    return function(crowd)
        local event = crowd.random:pick(crowd.events)
        local line = { verb, event.id, crowd:customer() }
        add_places(crowd, line, event)
        local also = crowd.random:chance(15) and other_event(crowd, event)
        if also then add_places(crowd, line, also) end
        return #line > 3 and add_code(crowd, line) or nil
    end
end

-- Sometimes only of a category, which a policy may treat by itself.
local function add_category(crowd, line, event)
    if #event.seats == 0 or not crowd.random:chance(20) then return end
    local category = crowd.random:pick(event.seats).category
    if category and category ~= "" then
        line[#line + 1] = "--category"
        line[#line + 1] = category
    end
end

local function best(crowd)
    local random = crowd.random
    local event = random:pick(crowd.events)
    if #event.seats == 0 then return nil end
    local also = random:chance(30) and other_event(crowd, event)
    local line = { "best", also and event.id .. "," .. also.id or event.id, crowd:customer(),
        tostring(random:int(1, crowd.party)) }
    if random:chance(30) then line[#line + 1] = "--book" end
    add_category(crowd, line, event)
    return add_code(crowd, line)
end

local function wait(crowd)
    local event = crowd.random:pick(crowd.events)
    local line = { "wait", event.id, crowd:customer(), tostring(crowd.random:int(1, crowd.party)) }
    add_category(crowd, line, event)
    return add_code(crowd, line)
end

-- ---- Changing ---------------------------------------------------------------------------

local function on_order(verb)
    return function(crowd)
        local ref = crowd:order()
        return ref and { verb, ref }
    end
end

-- Some of an order's places, rarely all of them.
local function on_part(verb)
    return function(crowd)
        local ref, places = some_order(crowd)
        if not ref then return nil end
        local line, random = { verb, ref }, crowd.random
        local first = random:int(1, #places)
        for i, place in ipairs(places) do
            if i == first or random:chance(30) then
                line[#line + 1] = word_of(crowd, place, random:int(1, place.count or 1), place.type)
            end
        end
        return line
    end
end

local function cancel_seat(crowd)
    local event = crowd.random:pick(crowd.events)
    local seat = known_seat(crowd, event)
    return seat and { "cancel-seat", event.id, seat.label, "--customer", seat.customer }
end

local function move(crowd)
    local event = crowd.random:pick(crowd.events)
    local from = known_seat(crowd, event)
    if not from then return nil end
    local to = start_of(crowd, event)
    return add_code(crowd, { "move", crowd.ref_of[from.order], named(crowd, event.id, from.label),
        named(crowd, event.id, to.label) })
end

-- Into an area, out of it, from one to another, or to another event.
local function move_far(crowd)
    local ref, place, count = some_place(crowd)
    if not ref then return nil end
    local event = crowd.random:pick(crowd.events)
    local to
    if #event.areas > 0 and (#event.seats == 0 or count > 1 or crowd.random:chance(60)) then
        to = ("%s*%d"):format(named(crowd, event.id, crowd.random:pick(event.areas).label), count)
    elseif #event.seats > 0 then
        to, count = named(crowd, event.id, start_of(crowd, event).label), 1
    end
    return to and add_code(crowd, { "move", ref, word_of(crowd, place, count, place.type), to })
end

local function change_type(crowd)
    if not crowd.types then return nil end
    local ref, place, count = some_place(crowd)
    return ref and { "move", ref, word_of(crowd, place, count, place.type),
        word_of(crowd, place, count, crowd.random:pick(crowd.types)) }
end

local function swap(crowd)
    local event = crowd.random:pick(crowd.events)
    local one, two = known_seat(crowd, event), known_seat(crowd, event)
    if not (one and two) or one.order == two.order then return nil end
    return add_code(crowd, { "swap", crowd.ref_of[one.order], named(crowd, event.id, one.label),
        crowd.ref_of[two.order], named(crowd, event.id, two.label) })
end

local function pass(crowd) return { "pass", crowd.random:int(1, 25) * 30 .. "s" } end

--- What is done, and how often.
---@type { [1]: integer, [2]: fun(crowd: Customers): string[]|nil }[]
M.list = {
    { 45, take "hold" },
    { 14, take "book" },
    { 8, best },
    { 11, on_order "confirm" },
    { 5, on_order "release" },
    { 5, on_order "cancel" },
    { 5, move },
    { 2, on_order "extend" },
    { 5, pass },
    { 6, on_part "release" },
    { 5, on_part "cancel" },
    { 5, on_part "split" },
    { 4, swap },
    { 3, cancel_seat },
    { 3, wait },
    { 4, move_far },
    { 4, change_type },
}

return M
