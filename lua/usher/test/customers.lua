--- Random customers: one step at a time, as a list of words. Orders are named by the number of
--- the step that made them ("$17"), so that a step can be left out and the rest still plays.
local M = {}

---@class Customers
---@field house House
---@field random table
---@field orders { ref: string, id: string }[] live ones, as far as is known
local Customers = {}
Customers.__index = Customers

---@param options table of the property
function M.new(house, random, options)
    local self = setmetatable({ house = house, random = random, orders = {}, count = 0,
        party = options.party or 6, types = options.types, more = options.actions or {} }, Customers)
    self.events = {}
    for i, id in ipairs(house.order_of_events) do self.events[i] = house:event(id) end
    return self
end

-- A free seat of the row when one is found in a few tries: mostly people ask for what they see free.
local function start_of(self, event)
    local random, seats = self.random, event.seats
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

local function word_of(self, label)
    if self.types and self.random:chance(50) then return label .. "=" .. self.random:pick(self.types) end
    return label
end

-- Mostly seats side by side, sometimes a few anywhere, sometimes places of an area.
local function add_places(self, line, event)
    local random = self.random
    local count = random:int(1, self.party)
    if #event.areas > 0 and (#event.seats == 0 or random:chance(30)) then
        line[#line + 1] = word_of(self, ("%s*%d"):format(random:pick(event.areas).label, count))
        return
    end
    local taken = {}
    if random:chance(12) then
        for _ = 1, count do taken[start_of(self, event)] = true end
    else
        for _, seat in ipairs(neighbours(start_of(self, event), count)) do
            if seat.status == "free" or random:chance(10) then taken[seat] = true end
        end
    end
    for _, seat in ipairs(event.seats) do
        if taken[seat] then line[#line + 1] = word_of(self, seat.label) end
    end
end

local function customer(self)
    if self.count > 0 and self.random:chance(25) then return "c" .. self.random:int(1, self.count) end
    self.count = self.count + 1
    return "c" .. self.count
end

local function take(self, verb)
    local event = self.random:pick(self.events)
    local line = { verb, event.id, customer(self) }
    add_places(self, line, event)
    return #line > 3 and line or nil
end

local function best(self)
    local event = self.random:pick(self.events)
    if #event.seats == 0 then return nil end
    local line = { "best", event.id, customer(self), tostring(self.random:int(1, self.party)) }
    if self.random:chance(30) then line[#line + 1] = "--book" end
    return line
end

local function on_order(verb)
    return function(self)
        local ref = self:order()
        return ref and { verb, ref }
    end
end

local function move(self)
    if #self.orders == 0 then return nil end
    local event = self.random:pick(self.events)
    local from
    for _ = 1, 8 do
        local seat = #event.seats > 0 and self.random:pick(event.seats)
        if seat and seat.order and self.ref_of[seat.order] then
            from = seat
            break
        end
    end
    if not from then return nil end
    local to = start_of(self, event)
    local prefix = event.id .. ":"
    return { "move", self.ref_of[from.order], prefix .. from.label, prefix .. to.label }
end

local function pass(self) return { "pass", self.random:int(1, 25) * 30 .. "s" } end

-- Weights add up to 100.
local ACTIONS = {
    { 45, function(self) return take(self, "hold") end },
    { 14, function(self) return take(self, "book") end },
    { 8, best },
    { 11, on_order "confirm" },
    { 5, on_order "release" },
    { 5, on_order "cancel" },
    { 5, move },
    { 2, on_order "extend" },
    { 5, pass },
}

--- An order that was made before, as "$17", or nil: for further actions.
---@return string|nil
function Customers:order() return #self.orders > 0 and self.random:pick(self.orders).ref or nil end

--- The next step, as words.
---@return string[]
function Customers:step()
    self.ref_of = self.ref_of or {}
    while true do
        if #self.more > 0 and self.random:chance(15) then
            local line = self.random:pick(self.more)(self.house, self.random, self)
            if line then return type(line) == "table" and line or require("usher.test.words").split(line) end
        end
        local at = self.random:int(1, 100)
        for _, action in ipairs(ACTIONS) do
            at = at - action[1]
            if at <= 0 then
                local line = action[2](self)
                if line then return line end
                break
            end
        end
    end
end

--- Tells what became of step `number`.
function Customers:done(number, line, ok, order)
    self.ref_of = self.ref_of or {}
    local verb = line[1]
    if ok and order and order ~= "" and not self.ref_of[order] then
        local ref = "$" .. number
        self.ref_of[order] = ref
        self.orders[#self.orders + 1] = { ref = ref, id = order }
        if #self.orders > 200 then table.remove(self.orders, 1) end
    elseif ok and (verb == "release" or verb == "cancel") then
        for i, one in ipairs(self.orders) do
            if one.ref == line[2] then
                table.remove(self.orders, i)
                break
            end
        end
    end
end

return M
