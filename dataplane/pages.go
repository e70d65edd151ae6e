package dataplane

import "strconv"

// ErrorPage gives the answer that a class sends with a status of its own making: a short HTML page that names the
// status and, for class nginx, the server (NGINX-FACTS 2). 463 has an empty body (ALB-FACTS 4.5).
func ErrorPage(class Class, status int) Reply {
	if status == 463 {
		return Reply{Status: status}
	}
	title := strconv.Itoa(status) + " " + StatusText(status)
	return htmlPage(class, status, title, title, "")
}

// plainHTTP is what NGINX says to a client that speaks HTTP to a port of HTTPS (NGINX-FACTS 3).
const plainHTTP = "The plain HTTP request was sent to HTTPS port"

// reasonPage gives the page of an outcome; nearly always the status alone decides it.
func reasonPage(class Class, o Outcome) Reply {
	if o.Reason == ReasonPlainHTTP && class == ClassNGINX {
		return htmlPage(class, o.Status, "400 "+plainHTTP, "400 Bad Request", "<center>"+plainHTTP+"</center>\r\n")
	}
	return ErrorPage(class, o.Status)
}

// htmlPage lays a page out; more stands below its heading.
func htmlPage(class Class, status int, title, heading, more string) Reply {
	footer := ""
	if class == ClassNGINX {
		footer = "<hr><center>nginx</center>\r\n"
	}
	return Reply{
		Status:      status,
		ContentType: "text/html",
		Body: "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n" +
			"<center><h1>" + heading + "</h1></center>\r\n" + more + footer + "</body>\r\n</html>\r\n",
	}
}

// StatusText names a status as load balancers do, where that differs from RFC 9110; "Unknown" for others.
func StatusText(status int) string {
	for i := range statusTexts {
		if statusTexts[i].status == status {
			return statusTexts[i].text
		}
	}
	return "Unknown"
}

// statusTexts names the statuses that the data plane writes itself. Read-only.
var statusTexts = [...]struct {
	status int
	text   string
}{
	{200, "OK"}, {201, "Created"}, {202, "Accepted"}, {204, "No Content"}, {206, "Partial Content"},
	{301, "Moved Permanently"}, {302, "Found"}, {303, "See Other"}, {304, "Not Modified"},
	{307, "Temporary Redirect"}, {308, "Permanent Redirect"},
	{400, "Bad Request"}, {401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"},
	{405, "Method Not Allowed"}, {408, "Request Timeout"}, {410, "Gone"}, {413, "Request Entity Too Large"},
	{414, "Request-URI Too Large"}, {415, "Unsupported Media Type"}, {429, "Too Many Requests"},
	{463, "Loop Detected"}, {499, "Client Closed Request"},
	{500, "Internal Server Error"}, {501, "Not Implemented"}, {502, "Bad Gateway"},
	{503, "Service Temporarily Unavailable"}, {504, "Gateway Time-out"}, {505, "HTTP Version Not Supported"},
}
