package cloudsim

import (
	"maps"
	"slices"
	"strings"
)

// Regions are the regions and the letters of the zones where ALB is on sale (ALB-FACTS 5.1).
var Regions = map[string]string{
	"cn-hangzhou": "bfghijk", "cn-shanghai": "bcdefglmn", "cn-shenzhen": "bcdef", "cn-chengdu": "abc", "cn-zhongwei": "ab",
	"cn-qingdao": "bc", "cn-beijing": "dfghijkl", "cn-zhangjiakou": "abc", "cn-wulanchabu": "abcd", "cn-guangzhou": "ab",
	"cn-heyuan": "abc", "cn-hongkong": "bcd",
	"ap-southeast-1": "abc", "ap-southeast-3": "abc", "ap-southeast-8": "ab", "ap-northeast-1": "abcde", "ap-southeast-5": "abc",
	"ap-northeast-2": "ab", "ap-southeast-6": "ab", "ap-southeast-7": "ab", "eu-west-1": "ab", "eu-central-1": "abc",
	"eu-west-2": "ab", "us-east-1": "ab", "us-west-1": "ab", "na-south-1": "ab", "me-east-1": "ab", "me-central-1": "ab",
}

func regionList() string { return strings.Join(slices.Sorted(maps.Keys(Regions)), ", ") }

// mainland tells whether a region is on the mainland: its names differ.
func mainland(region string) bool {
	return strings.HasPrefix(region, "cn-") && region != "cn-hongkong"
}

// zoneID is the id of a zone: with a dash in China, without elsewhere (ALB-FACTS 5.1).
func zoneID(region string, letter rune) string {
	if strings.HasPrefix(region, "cn-") {
		return region + "-" + string(letter)
	}
	return region + string(letter)
}

// DescribeZones gives the region's zones.
func (c *Cloud) DescribeZones() []Zone {
	var zones []Zone
	for _, letter := range Regions[c.options.Region] {
		zones = append(zones, Zone{ZoneID: zoneID(c.options.Region, letter), LocalName: "Zone " + strings.ToUpper(string(letter))})
	}
	return zones
}

// dnsSuffix is what follows an instance's id in its DNS name (ALB-FACTS 4.1).
func dnsSuffix(region string) string {
	if mainland(region) {
		return "." + region + ".alb.aliyuncsslb.com"
	}
	return "." + region + ".alb.aliyuncsslbintl.com"
}
