--- Reproducible randomness for the property runner (splitmix64): the same seed plays the same
--- customers on every machine.
local Random = {}
Random.__index = Random

---@param seed integer
function Random.new(seed) return setmetatable({ state = seed }, Random) end

function Random:bits()
    self.state = self.state + 0x9E3779B97F4A7C15
    local z = self.state
    z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ~ (z >> 27)) * 0x94D049BB133111EB
    return z ~ (z >> 31)
end

--- An integer from `low` to `high`.
function Random:int(low, high)
    return low + math.tointeger((self:bits() >> 1) % (high - low + 1))
end

--- One element of a list.
function Random:pick(list) return list[self:int(1, #list)] end

function Random:chance(percent) return self:int(1, 100) <= percent end

return Random
