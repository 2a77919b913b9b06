--- "Did you mean": what an unknown name was probably meant to be.
local M = {}

-- Edit distance; two letters that changed places are one edit.
local function distance(a, b)
    local last, row = nil, {}
    for j = 0, #b do row[j] = j end
    for i = 1, #a do
        local before = last
        last, row = row, { [0] = i }
        for j = 1, #b do
            local same = a:byte(i) == b:byte(j)
            row[j] = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same and 0 or 1))
            if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
                row[j] = math.min(row[j], before[j - 2] + 1)
            end
        end
    end
    return row[#b]
end

-- Is `word` short for `name`, as "msg" is for "message"?
local function abbreviates(word, name)
    if #word < 3 or word:byte() ~= name:byte() then return false end
    local at = 0
    for i = 1, #word do
        at = name:find(word:sub(i, i), at + 1, true)
        if not at then return false end
    end
    return true
end

local function sorted(names)
    local out = {}
    for name, shown in pairs(names) do
        if shown and type(name) == "string" then out[#out + 1] = name end
    end
    table.sort(out)
    return out
end

--- The name nearest to `word`, or nil when none is near.
---@param word string
---@param names table<string, any> a set; what is false in it is not offered
---@return string|nil
function M.nearest(word, names)
    local best, least, short = nil, #word // 3 + 2, nil
    if #word > 63 then return nil end -- it costs as much as both are long
    for _, name in ipairs(sorted(names)) do
        local d = distance(word:lower(), name:lower())
        if d < least then best, least = name, d end
        if abbreviates(word, name) then short = short or name end
    end
    return best or short
end

--- The end of an error about an unknown name: "; did you mean 'rules'?", or all that there is.
---@param word any
---@param names table<string, any>
---@return string
function M.hint(word, names)
    local near = type(word) == "string" and M.nearest(word, names)
    if near then return ("; did you mean '%s'?"):format(near) end
    return "; known are " .. table.concat(sorted(names), ", ")
end

return M
