--- Random customers: one step at a time, as a list of words. Orders are named by the number of
--- the step that made them ("$17"), so that a step can be left out and the rest still plays.
local actions = require "usher.test.actions"
local words = require "usher.test.words"

local M = {}

---@class Customers
---@field house House
---@field random table
---@field events table[] as House:event has them
---@field orders { ref: string, id: string }[] live ones, as far as is known
---@field ref_of table<string, string> by the order's id
---@field count integer how many people there have been
local Customers = {}
Customers.__index = Customers

local CLIENT = { name = "test", access = "client" }

local function weight_of(list)
    local sum = 0
    for _, action in ipairs(list) do sum = sum + action[1] end
    return sum
end
local WEIGHT = weight_of(actions.list)

---@param options table of the property
function M.new(house, random, options)
    local self = setmetatable({ house = house, random = random, orders = {}, ref_of = {}, count = 0,
        party = options.party or 6, types = options.types, codes = options.codes, roles = options.roles,
        user = options.user, more = options.actions or {} }, Customers)
    self.events = {}
    for i, id in ipairs(house.order_of_events) do self.events[i] = house:event(id) end
    return self
end

--- Somebody: one who came before, or one more.
---@return string
function Customers:customer()
    if self.count > 0 and self.random:chance(25) then return "c" .. self.random:int(1, self.count) end
    self.count = self.count + 1
    return "c" .. self.count
end

--- An order that was made before, as "$17", or nil: for further actions.
---@return string|nil
function Customers:order() return #self.orders > 0 and self.random:pick(self.orders).ref or nil end

-- Who asks: customers come as clients, sometimes to a counter that has a role.
local function user_of(self)
    if self.user then return self.user end
    if not self.roles or not self.random:chance(15) then return CLIENT end
    return { name = "test", access = "client", roles = { self.random:pick(self.roles) } }
end

local function action_of(self)
    local at = self.random:int(1, WEIGHT)
    for _, action in ipairs(actions.list) do
        at = at - action[1]
        if at <= 0 then return action[2](self) end
    end
end

--- The next step: its words, and who asks.
---@return string[] line
---@return table user
function Customers:step()
    local line
    repeat
        if #self.more > 0 and self.random:chance(15) then
            line = self.random:pick(self.more)(self.house, self.random, self)
            if type(line) == "string" then line = words.split(line) end
            if line and type(line) ~= "table" then
                words.fail(("test.property: an action returned a %s, not a command line"):format(type(line)))
            end
        end
        line = line or action_of(self)
    until line
    return line, user_of(self)
end

-- Has the order ended, as far as a look at it tells? One of which a part was given back has not.
local function ended(self, id)
    local order = self.house:order(id)
    return not order or (order.status ~= "held" and order.status ~= "booked")
end

local function drop(self, ref)
    for i, one in ipairs(self.orders) do
        if one.ref == ref and ended(self, one.id) then
            table.remove(self.orders, i)
            return
        end
    end
end

--- Tells what became of step `number`.
---@param order string|nil id of the order that it made or changed
function Customers:done(number, line, ok, order)
    local verb = line[1]
    if ok and order and not self.ref_of[order] then
        local ref = "$" .. number
        self.ref_of[order] = ref
        self.orders[#self.orders + 1] = { ref = ref, id = order }
        if #self.orders > 200 then table.remove(self.orders, 1) end
    end
    if ok and (verb == "release" or verb == "cancel") then drop(self, line[2]) end
end

return M
