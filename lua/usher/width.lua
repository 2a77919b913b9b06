--- How wide text is on a terminal: most characters take one column, those of East Asia and
--- pictures two, marks that combine with the one before none.
local M = {}

-- { from, to, columns }, ascending; what is not listed takes one column.
local RANGES = {
    { 0x300, 0x36F, 0 }, { 0x483, 0x489, 0 }, { 0x591, 0x5BD, 0 }, { 0x610, 0x61A, 0 }, { 0x64B, 0x65F, 0 },
    { 0x900, 0x902, 0 }, { 0x1100, 0x115F, 2 }, { 0x1AB0, 0x1AFF, 0 }, { 0x1DC0, 0x1DFF, 0 },
    { 0x200B, 0x200F, 0 }, { 0x20D0, 0x20FF, 0 }, { 0x231A, 0x231B, 2 }, { 0x23E9, 0x23EC, 2 },
    { 0x2E80, 0x303E, 2 }, { 0x3041, 0x33FF, 2 }, { 0x3400, 0x4DBF, 2 }, { 0x4E00, 0x9FFF, 2 },
    { 0xA000, 0xA4CF, 2 }, { 0xAC00, 0xD7A3, 2 }, { 0xF900, 0xFAFF, 2 }, { 0xFE00, 0xFE0F, 0 },
    { 0xFE20, 0xFE2F, 0 }, { 0xFE30, 0xFE6F, 2 }, { 0xFF00, 0xFF60, 2 }, { 0xFFE0, 0xFFE6, 2 },
    { 0x1F300, 0x1F64F, 2 }, { 0x1F680, 0x1F6FF, 2 }, { 0x1F900, 0x1F9FF, 2 }, { 0x20000, 0x3FFFD, 2 },
}

local function columns(code)
    if code < 0x300 then return 1 end
    local low, high = 1, #RANGES
    while low <= high do
        local mid = (low + high) // 2
        local range = RANGES[mid]
        if code < range[1] then
            high = mid - 1
        elseif code > range[2] then
            low = mid + 1
        else
            return range[3]
        end
    end
    return 1
end

--- Columns of a text without control characters; bytes that are not UTF-8 count one each.
---@param text string
---@return integer
function M.of(text)
    if not text:find("[\128-\255]") then return #text end
    if not utf8.len(text) then return #text end
    local n = 0
    for _, code in utf8.codes(text) do n = n + columns(code) end
    return n
end

--- The text with blanks up to `width` columns.
function M.pad(text, width) return text .. (" "):rep(width - M.of(text)) end

--- The beginning of a text that fits into `width` columns.
function M.cut(text, width)
    if M.of(text) <= width then return text end
    if not utf8.len(text) then return text:sub(1, width) end
    local n = 0
    for at, code in utf8.codes(text) do
        n = n + columns(code)
        if n > width then return text:sub(1, at - 1) end
    end
    return text
end

--- Breaks a text at its blanks into lines of at most `width` columns; a word that is wider is cut.
---@return string[] lines
function M.wrap(text, width)
    local lines, line = {}, ""
    for word in text:gmatch("%S+") do
        if line ~= "" and M.of(line) + 1 + M.of(word) > width then
            lines[#lines + 1] = line
            line = ""
        end
        while M.of(word) > width do
            local part = M.cut(word, width)
            if part == "" then break end -- not even one character fits
            lines[#lines + 1] = part
            word = word:sub(#part + 1)
        end
        line = line ~= "" and line .. " " .. word or word
    end
    lines[#lines + 1] = line
    return lines
end

--- Joins parts with `gap` into lines of at most `width` columns.
---@param parts string[] may hold colour codes if `widths` says how wide each is
function M.flow(parts, gap, width, widths)
    local lines, line, used = {}, "", 0
    for i, part in ipairs(parts) do
        local w = widths and widths[i] or M.of(part)
        if used > 0 and used + #gap + w > width then
            lines[#lines + 1] = line
            line, used = part, w
        else
            line = used > 0 and line .. gap .. part or part
            used = used + (used > 0 and #gap or 0) + w
        end
    end
    lines[#lines + 1] = line
    return lines
end

return M
